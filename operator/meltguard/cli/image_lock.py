"""The part of requirements.lock that the image needs: the operator and the agent, without tools and local plane."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from meltguard.errors import InvalidInput

IMAGE_EXTRAS: Final = ("agent",)
IMAGE: Final = {"python_version": "3.11", "python_full_version": "3.11.15", "sys_platform": "linux", "os_name": "posix"}
"""What markers are evaluated for: the Dockerfile's base, whatever runs here."""

HEAD: Final = "# Generated from pyproject.toml and requirements.lock by `make generate`. Do not edit.\n"


def image_lock(pyproject: str, lock: str) -> str:
    """The lock's entries, hashes included, of everything that the image imports.

    Raises:
        InvalidInput: something that is needed is not in the lock, or not installed here.
    """
    project = tomllib.loads(pyproject)["project"]
    asked = [*project["dependencies"]]
    for extra in IMAGE_EXTRAS:
        asked += project["optional-dependencies"][extra]
    entries = dict(_entries(lock))
    needed = sorted(_closure(map(Requirement, asked)))
    if missing := [name for name in needed if name not in entries]:
        raise InvalidInput(f"requirements.lock lacks {', '.join(missing)}: lock anew")
    return HEAD + "".join(entries[name] for name in needed)


def _entries(lock: str) -> Iterator[tuple[str, str]]:
    """Name and text of each entry; its hashes follow on indented lines."""
    for found in re.finditer(r"^([A-Za-z0-9][\w.-]*)(\[[^\]]*\])?==.*\n(?:[ \t]+.*\n)*", lock, re.MULTILINE):
        yield canonicalize_name(found[1]), found[0]


def _closure(asked: Iterable[Requirement]) -> set[str]:
    found: set[tuple[str, str]] = set()  # name and extra
    waiting = list(asked)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {known for seen, known in found if seen == name}:
            found.add((name, extra))
            waiting += _required_by(name, extra)
    return {name for name, _ in found}


def _required_by(name: str, extra: str) -> Iterator[Requirement]:
    """What an installed package needs here, for one of its extras or, where that is empty, without any."""
    try:
        texts = requires(name) or []
    except PackageNotFoundError as exc:
        raise InvalidInput(f"{name} is not installed: install the project with its extras first") from exc
    for requirement in map(Requirement, texts):
        if requirement.marker is None or requirement.marker.evaluate({**IMAGE, "extra": extra}):
            yield requirement
