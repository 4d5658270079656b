"""The user's cache: what is built once and shared by every checkout, and what running planes leave there."""

import fcntl
import os
import sys
from pathlib import Path
from typing import Final

from meltguard.errors import InvalidInput

PRIVATE: Final = 0o700  # planes keep keys and tokens below the cache


def cache_directory() -> Path:
    """`$MELTGUARD_CACHE`, else `$XDG_CACHE_HOME/meltguard`, else `~/.cache/meltguard`; made where it is missing.

    Raises:
        InvalidInput: it cannot be made.
    """
    own = os.environ.get("MELTGUARD_CACHE")
    shared = os.environ.get("XDG_CACHE_HOME")
    place = Path(own) if own else (Path(shared) if shared else Path.home() / ".cache") / "meltguard"
    return private_directory(place.absolute())


def private_directory(place: Path) -> Path:
    """Make a directory that only its owner can enter; parents too.

    Raises:
        InvalidInput: it cannot be made.
    """
    try:
        place.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    except OSError as exc:
        raise InvalidInput(
            f"cannot make the directory {place}: {exc}; set MELTGUARD_CACHE to one you can write"
        ) from exc
    return place


def require_linux() -> None:
    """The local plane needs 127.0.0.0/8 as loopback, /proc and PR_SET_PDEATHSIG.

    Raises:
        InvalidInput: this is another system.
    """
    if sys.platform != "linux":
        raise InvalidInput(
            f"the local plane runs on Linux only, and this is {sys.platform}; take a Linux machine, or kind (README.md)"
        )


def try_lock(lock: Path) -> int | None:
    """Lock a file; the kernel unlocks it when the descriptor is closed or this process ends, however it ends.

    Returns the descriptor; None where another process holds the lock.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(lock: Path) -> bool:
    """Whether a live process holds this lock file."""
    if not lock.exists():
        return False
    descriptor = try_lock(lock)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
