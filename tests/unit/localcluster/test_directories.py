from pathlib import Path

import pytest

from meltguard.errors import InvalidInput
from meltguard.localcluster.cache import try_lock
from meltguard.localcluster.directories import own_directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MELTGUARD_CACHE", str(tmp_path))
    return tmp_path


def test_a_directory_goes_with_its_plane() -> None:
    with own_directory(None, kept=False) as directory:
        (directory / "data").write_text("x")
    assert not directory.exists()


def test_a_kept_directory_stays_whatever_comes_later() -> None:
    with own_directory(None, kept=True) as directory:
        (directory / "data").write_text("x")
    with own_directory(None, kept=False):
        assert (directory / "data").read_text() == "x"


def test_what_a_killed_plane_left_is_removed_but_not_what_a_live_one_has(cache: Path) -> None:
    left = cache / "planes" / "plane-left"
    left.mkdir(parents=True)
    (left / "plane.lock").write_text("")
    with own_directory(None, kept=False) as live, own_directory(None, kept=False) as other:
        assert not left.exists()
        assert live.exists()
        assert other != live


def test_a_directory_of_ones_own_must_be_empty_and_unused(tmp_path: Path) -> None:
    wanted = tmp_path / "wanted"
    with own_directory(wanted, kept=True):
        (wanted / "data").write_text("x")
    with pytest.raises(InvalidInput, match="not empty"), own_directory(wanted, kept=True):
        pass


def test_a_directory_being_made_is_not_taken_for_a_left_one(cache: Path) -> None:
    young = cache / "planes" / "plane-young"
    young.mkdir(parents=True)
    held = try_lock(young / "plane.lock")
    assert held is not None
    with own_directory(None, kept=False):
        assert young.exists()
