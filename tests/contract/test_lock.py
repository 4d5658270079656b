"""A fresh machine can install what requirements.lock names, whatever has been released since."""

from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parents[2] / "requirements.lock"


def locked() -> dict[str, set[str]]:
    """The extras that each locked package is installed with."""
    entries = (line.split("\\")[0] for line in LOCK.read_text().splitlines() if line[:1].isalnum())
    found: dict[str, set[str]] = {}
    for entry in map(Requirement, entries):
        found.setdefault(canonicalize_name(entry.name), set()).update(entry.extras)
    return found


def asked_with_extras(name: str, extras: set[str]) -> list[Requirement]:
    """What a package with these extras needs with extras of its own; none where it is not installed here."""
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return []
    chosen = [{"extra": extra} for extra in ("", *extras)]
    needed = [one for one in map(Requirement, texts) if one.extras]
    return [one for one in needed if one.marker is None or any(map(one.marker.evaluate, chosen))]


def test_the_lock_names_every_extra_that_a_locked_package_asks_for() -> None:
    """Pip looks for `x[extra]` apart from `x`: without it comes the newest release, whose hash is not there."""
    entries = locked()
    lacking = [
        f"{name} needs {one.name}{sorted(one.extras)}"
        for name, extras in entries.items()
        for one in asked_with_extras(name, extras)
        if not one.extras <= entries.get(canonicalize_name(one.name), set())
    ]
    assert lacking == []


def test_there_is_a_package_to_judge_this_by() -> None:
    assert "toml" in locked()["coverage"]
