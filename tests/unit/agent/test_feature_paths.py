"""Which feature a request uses, by its path."""

import pytest

from meltguard.agent.feature_paths import FeaturePaths
from meltguard.errors import InvalidInput

PATHS = FeaturePaths.parse("images=/v1/images, image-edit=/v1/images/edits/,upscale=/upscale")

CASES = {
    "the path": ("/v1/images/edits", "image-edit"),
    "below it": ("/v1/images/edits/7", "image-edit"),
    "the longer one counts": ("/v1/images/generations", "images"),
    "only begins alike": ("/v1/images-old", None),
    "another": ("/v1/chat", None),
    "root": ("/", None),
    "doubled slashes": ("//v1//images///edits", "image-edit"),
    "dots": ("/v1/x/../images/./edits", "image-edit"),
    "encoded": ("/v1/images/%65dits", "image-edit"),
    "an end": ("/upscale/", "upscale"),
}


@pytest.mark.parametrize(("path", "feature"), CASES.values(), ids=CASES)
def test_a_path_tells_its_feature_in_every_spelling(path: str, feature: str | None) -> None:
    assert PATHS.of(path) == feature


@pytest.mark.parametrize("text", ["edit", "=/v1", "edit=", "edit=v1", "edit=/"])
def test_what_names_no_feature_and_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write FEATURE=/path"):
        FeaturePaths.parse(text)


def test_without_any_nothing_is_looked_up() -> None:
    assert not FeaturePaths()
    assert not FeaturePaths.parse("")
