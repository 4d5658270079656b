import os
from pathlib import Path

import pytest

from meltguard.errors import InvalidInput
from meltguard.localcluster.cache import cache_directory, is_locked, private_directory, try_lock


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MELTGUARD_CACHE", raising=False)
    assert cache_directory() == tmp_path / "home" / ".cache" / "meltguard"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "meltguard"
    monkeypatch.setenv("MELTGUARD_CACHE", str(tmp_path / "own"))
    assert cache_directory() == tmp_path / "own"


def test_a_private_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    assert private_directory(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="MELTGUARD_CACHE"):
        private_directory(tmp_path / "file" / "below")


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_locked(lock)
    descriptor = try_lock(lock)
    assert descriptor is not None
    assert is_locked(lock)
    assert try_lock(lock) is None
    os.close(descriptor)
    assert not is_locked(lock)
