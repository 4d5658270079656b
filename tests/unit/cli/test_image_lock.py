import pytest

from meltguard.cli.image_lock import image_lock
from meltguard.errors import InvalidInput

PROJECT = """\
[project]
dependencies = ["pytest>=9"]
[project.optional-dependencies]
agent = ["redis>=8"]
dev = ["mypy"]
"""
HASH = " \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
NAMES = ("iniconfig", "mypy", "packaging", "pluggy", "pygments", "pytest", "redis")
LOCK = "".join(f"{name}==1.0{HASH}" for name in NAMES)


def test_what_is_needed_is_kept_with_its_hashes_and_tools_are_not() -> None:
    text = image_lock(PROJECT, LOCK)
    assert f"redis==1.0{HASH}" in text
    assert {line.partition("==")[0] for line in text.splitlines() if "==" in line} == {*NAMES} - {"mypy"}


def test_what_the_lock_lacks_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"requirements.lock lacks pluggy: lock anew"):
        image_lock(PROJECT, LOCK.replace("pluggy==", "pluggi=="))


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(InvalidInput, match="no-such-thing is not installed"):
        image_lock(PROJECT.replace("pytest>=9", "no-such-thing"), LOCK)
