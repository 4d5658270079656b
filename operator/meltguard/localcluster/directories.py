"""A plane's own directory: private, locked while the plane lives, removed when it ends or at the next start."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meltguard.errors import InvalidInput, Unavailable
from meltguard.localcluster.cache import cache_directory, private_directory, try_lock

LOCK: Final = "plane.lock"
TRIES: Final = 10
"""Between the making of a lock file and its locking, another plane may take the directory for an abandoned one."""


@contextmanager
def own_directory(wanted: Path | None, *, kept: bool) -> Iterator[Path]:
    """The directory, ours alone while the body runs; removed after it unless it is to be kept.

    Raises:
        InvalidInput: the wanted directory is not empty, or cannot be made.
    """
    directory, descriptor = _locked(wanted)
    try:
        yield directory
    finally:
        if kept:
            (directory / LOCK).unlink(missing_ok=True)  # so that no later plane takes it for an abandoned one
        else:
            shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _locked(wanted: Path | None) -> tuple[Path, int]:
    """The directory and the descriptor that holds its lock."""
    if wanted is not None:
        directory = _empty(wanted.absolute())
        descriptor = try_lock(directory / LOCK)
        if descriptor is None:
            raise InvalidInput(f"another plane runs in {directory}; give another directory, or none")
        return directory, descriptor
    for _ in range(TRIES):
        directory = _fresh()
        descriptor = try_lock(directory / LOCK)
        if descriptor is None:
            continue
        if (directory / LOCK).exists():
            return directory, descriptor
        os.close(descriptor)
    raise Unavailable(f"other planes that start just now keep removing our directory {directory}; try again")


def _fresh() -> Path:
    """A new directory below the cache; those of planes that were killed are removed first."""
    planes = private_directory(cache_directory() / "planes")
    for left in planes.iterdir():
        _remove_if_abandoned(left)
    return Path(tempfile.mkdtemp(prefix="plane-", dir=planes))


def _remove_if_abandoned(directory: Path) -> None:
    """Without a lock file a directory is being made right now, or being removed: not ours to touch."""
    if not (directory / LOCK).exists():
        return
    descriptor = try_lock(directory / LOCK)
    if descriptor is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _empty(directory: Path) -> Path:
    private_directory(directory)
    if any(directory.iterdir()):
        raise InvalidInput(f"{directory} is not empty; a plane needs a directory of its own")
    return directory
