"""The operator's configuration: a mistake names the file, the field and the way out, and never shows a key."""

import base64
from pathlib import Path

import pytest

from meltguard.controller.settings import load_config, load_keys
from meltguard.errors import InvalidInput

SEED = base64.b64encode(bytes(32)).decode()


def a_directory(path: Path, **entries: str) -> Path:
    for name, text in entries.items():
        (path / name).write_text(text)
    return path


def test_a_sound_configuration_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("metricSources: {default: {url: 'http://prometheus:9090'}}\nnodeLabelKeys: [workload]\n")
    assert load_config(file).metric_sources["default"].url == "http://prometheus:9090"


WRONG = {
    "a typo": ("metricSource: {}", "metricSource"),
    "no URL": ("metricSources: {default: {url: prometheus}}", "metricSources.default.url"),
    "no YAML": ("{", "no YAML"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_a_mistake_names_the_field(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        load_config(file)


def test_the_active_key_comes_first(tmp_path: Path) -> None:
    keys = load_keys(a_directory(tmp_path, active="k2", k1=SEED, k2=SEED))
    assert [key.key_id for key in keys] == ["k2", "k1"]


BROKEN = {
    "no active key": {"k1": SEED},
    "an active key that is not there": {"active": "k9", "k1": SEED},
    "not base64": {"active": "k1", "k1": "secret-not-base64!"},
    "too short": {"active": "k1", "k1": base64.b64encode(b"short").decode()},
}


@pytest.mark.parametrize("entries", BROKEN.values(), ids=BROKEN)
def test_a_broken_key_is_refused_without_being_shown(tmp_path: Path, entries: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_keys(a_directory(tmp_path, **entries))
    assert "secret" not in str(refused.value)
    assert SEED not in str(refused.value)
