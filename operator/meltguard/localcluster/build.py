"""Build the plane's programs from their recipes into the cache, once, by one process at a time."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import Unavailable
from meltguard.localcluster.cache import private_directory, try_lock
from meltguard.localcluster.catalog import Recipe
from meltguard.localcluster.progress import Progress
from meltguard.localcluster.toolchain import Go, find_go
from meltguard.localcluster.watched import Failed, Where, run_watched

BUILD_LIMIT: Final = Seconds(3600.0)
TURN_LIMIT: Final = Seconds(2 * 3600.0)  # for another process's builds
LOOK_EVERY: Final = Seconds(0.5)


def built_directory(recipe: Recipe, cache: Path) -> Path:
    """Where a recipe's programs are, or would be."""
    return cache / "bin" / f"{recipe.name}-{recipe.version}"


def build(recipe: Recipe, cache: Path, progress: Progress) -> Path:
    """The directory with the recipe's programs; builds them if they are not there.

    Raises:
        Unavailable: there is no compiler, the sources cannot be had, the build failed, or another process builds
            for longer than two hours.
    """
    target = built_directory(recipe, cache)
    if target.is_dir():
        return target
    with _own_turn(recipe, cache, progress):
        if not target.is_dir():  # while we waited, another process may have built it
            _build(recipe, target, progress, find_go(cache, progress))
    return target


@contextmanager
def _own_turn(recipe: Recipe, cache: Path, progress: Progress) -> Iterator[None]:
    """One build at a time on this cache: two at once would take twice as long each."""
    descriptor = _wait_for(cache / "build.lock", recipe, progress)
    try:
        yield
    finally:
        os.close(descriptor)


def _wait_for(lock: Path, recipe: Recipe, progress: Progress) -> int:
    """The descriptor that holds the lock."""
    descriptor = try_lock(lock)
    if descriptor is not None:
        return descriptor
    deadline = time.monotonic() + TURN_LIMIT
    progress.begin(f"another process is building into {lock.parent}; waiting to build {recipe.name}")
    while (descriptor := try_lock(lock)) is None:
        if time.monotonic() > deadline:
            progress.end("gave up")
            raise Unavailable(
                f"another process has held {lock} for two hours; end it (`fuser {lock}` names it) and run this again"
            )
        progress.update("still building")
        time.sleep(LOOK_EVERY)
    progress.end("it is our turn")
    return descriptor


def _build(recipe: Recipe, target: Path, progress: Progress, go: Go) -> None:
    """Compile a copy of the recipe beside the target, then rename: what is in place is whole."""
    work = Path(tempfile.mkdtemp(prefix=f"{recipe.name}-", dir=private_directory(target.parent.parent / "build")))
    log = work.parent / f"{recipe.name}-{recipe.version}.log"
    names = ", ".join(program.name for program in recipe.programs)
    progress.begin(f"building {names} {recipe.version} (once; about {recipe.minutes:.0f} min on two cores)")
    try:
        _compile(recipe, go, work, log, progress)
        target.parent.mkdir(parents=True, exist_ok=True)
        (work / "out").rename(target)
    except Failed as exc:
        progress.end("failed")
        raise Unavailable(
            f"cannot build {names} {recipe.version}: {exc}\nThe whole output is in {log}.\nNext: {_next_step(log)}"
        ) from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)
    progress.end("built")


def _compile(recipe: Recipe, go: Go, work: Path, log: Path, progress: Progress) -> None:
    source, out, scratch = work / "source", work / "out", work / "scratch"
    shutil.copytree(recipe.directory(), source)
    out.mkdir()
    scratch.mkdir()
    run_watched(
        [
            *(str(go.executable), "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"),
            *("-ldflags", link_flags(recipe), "-o", f"{out}{os.sep}"),
            *(program.package for program in recipe.programs),
        ],
        log=log,
        limit=BUILD_LIMIT,
        told=lambda told: progress.update(how_far(told)),
        where=Where(source, {**go.environment, "GOTMPDIR": str(scratch)}),
    )
    for program in recipe.programs:
        (out / program.built_as).rename(out / program.name)


def link_flags(recipe: Recipe) -> str:
    """What the linker is told: no symbol tables, and the version variables."""
    return " ".join(["-s", "-w", *(f"-X {variable}={value}" for variable, value in recipe.link.items())])


def how_far(log: Path) -> str:
    """What `go build -v` has printed so far, in numbers."""
    lines = log.read_text(errors="replace").splitlines()
    fetched = sum(line.startswith("go: downloading") for line in lines)
    compiled = sum(not line.startswith(("go: ", "#")) for line in lines)
    return f"{fetched} modules fetched, {compiled} packages compiled"


def _next_step(log: Path) -> str:
    said = log.read_text(errors="replace") if log.exists() else ""
    if any(sign in said for sign in ("dial tcp", "no such host", "i/o timeout", "proxyconnect", "unreachable")):
        return "make the Go module proxy reachable (`go env GOPROXY`) and run this again; nothing compiled is lost."
    if "no space left" in said:
        return "free some disk space (the build needs about 6 GB) and run this again."
    return "run this again, or put fitting binaries into a directory and name it in KUBEBUILDER_ASSETS."
