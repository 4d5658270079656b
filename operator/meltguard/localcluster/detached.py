"""Planes that live on after the command that started them: one supervisor process holds each, found by its name."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.localcluster.addresses import AddressBlock
from meltguard.localcluster.binaries import plane_binaries
from meltguard.localcluster.cache import cache_directory, is_locked, private_directory, require_linux
from meltguard.localcluster.components import EARLY, LATE, Site
from meltguard.localcluster.credentials import credentials_in
from meltguard.localcluster.processes import lives
from meltguard.localcluster.progress import Progress
from meltguard.localcluster.watched import tail

UP_LIMIT: Final = Seconds(180.0)
DOWN_LIMIT: Final = Seconds(30.0)
LOOK_EVERY: Final = Seconds(0.05)


@dataclass(frozen=True, slots=True)
class Post:
    """The files by which a detached plane is found."""

    directory: Path

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives; has its process id."""
        return self.directory / "lock"

    @property
    def state(self) -> Path:
        """Written when the plane is ready."""
        return self.directory / "state.json"

    @property
    def log(self) -> Path:
        """The supervisor's output."""
        return self.directory / "supervisor.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a supervisor says about its plane."""

    directory: Path
    block: int
    kubeconfig: Path
    prometheus_url: str
    valkey_url: str
    pids: dict[str, int]
    keep_data: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentNow:
    """A row of `status`."""

    name: str
    pid: int | None  # None where it does not run
    address: str
    ready: bool


def post_of(name: str) -> Post:
    """Where the plane of this name is found.

    Raises:
        InvalidInput: no plane can have this name.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,40}", name):
        raise InvalidInput(f"{name!r} is no name for a plane: use up to 41 small letters, digits and dashes")
    return Post(private_directory(cache_directory() / "run" / name))


def bring_up(name: str, progress: Progress, *, keep_data: bool = False) -> State:
    """The plane of this name, ready; started if it does not run.

    Raises:
        Unavailable: it does not become ready.
    """
    require_linux()
    post = post_of(name)
    if not is_locked(post.lock):
        if post.state.exists():
            progress.begin("the last supervisor was killed; removing what it left")
            _remove_rest(post)
            progress.end("removed")
        plane_binaries(progress)
        _start(post, progress, keep_data=keep_data)
    return read_state(post) or _await_state(post, progress)


def take_down(name: str) -> bool:
    """End the plane of this name and wait until nothing of it runs; False where it did not run.

    Raises:
        Unavailable: its supervisor cannot be ended.
    """
    post = post_of(name)
    ran = is_locked(post.lock)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + DOWN_LIMIT
        if is_locked(post.lock):
            os.kill(int(post.lock.read_text()), number)
        while is_locked(post.lock) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
    if is_locked(post.lock):
        raise Unavailable(f"the supervisor of the plane {name} does not end; its log is {post.log}")
    _remove_rest(post)
    return ran


def look(name: str) -> list[ComponentNow]:
    """Every component of the plane, asked now; none where the plane does not run."""
    post = post_of(name)
    state = read_state(post)
    if state is None or not is_locked(post.lock):
        return []
    block = AddressBlock(state.block)
    site = Site(
        directory=state.directory,
        block=block,
        binaries=defaultdict(Path),  # only asked, not started
        credentials=credentials_in(state.directory, block),
        scrape_interval=Seconds(1.0),
    )
    return [
        ComponentNow(
            name=component.name,
            pid=_running(state.pids.get(component.name)),
            address=component.address,
            ready=component.is_ready(),
        )
        for component in (build(site) for build in (*EARLY, *LATE))
    ]


def read_state(post: Post) -> State | None:
    """What the supervisor wrote; None where it has not yet."""
    if not post.state.exists():
        return None
    held = json.loads(post.state.read_text())
    return State(**{**held, "directory": Path(held["directory"]), "kubeconfig": Path(held["kubeconfig"])})


def write_state(post: Post, state: State) -> None:
    """Say that the plane is ready."""
    beside = post.state.with_suffix(".new")
    held = {name: getattr(state, name) for name in State.__slots__}
    beside.write_text(json.dumps(held, default=str, indent=1))
    beside.replace(post.state)


def _start(post: Post, progress: Progress, *, keep_data: bool) -> None:
    command = [sys.executable, "-m", "meltguard.localcluster.supervisor", str(post.directory), str(int(keep_data))]
    with post.log.open("wb") as log:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
    deadline = time.monotonic() + UP_LIMIT
    progress.begin("starting the supervisor")
    while not is_locked(post.lock) and started.poll() is None and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    progress.end("started" if started.poll() is None else "failed")


def _await_state(post: Post, progress: Progress) -> State:
    deadline = time.monotonic() + UP_LIMIT
    progress.begin("starting the plane")
    while (state := read_state(post)) is None:
        alive = is_locked(post.lock)
        if not alive or time.monotonic() > deadline:
            progress.end("failed")
            why = f"is not ready after {UP_LIMIT:.0f} s" if alive else "ended before it was ready"
            raise Unavailable(f"the plane {why}. The end of {post.log}:\n{tail(post.log)}")
        progress.update("waiting for its components")
        time.sleep(LOOK_EVERY)
    progress.end("ready")
    return state


def _remove_rest(post: Post) -> None:
    """What is left where the supervisor was killed; its components were killed with it, by the kernel."""
    state = read_state(post)
    if state is None:
        return
    deadline = time.monotonic() + DOWN_LIMIT
    while any(_running(pid) for pid in state.pids.values()) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    if not state.keep_data:
        shutil.rmtree(state.directory, ignore_errors=True)
    post.state.unlink(missing_ok=True)


def _running(pid: int | None) -> int | None:
    """The process id, if such a process lives."""
    return pid if pid is not None and lives(pid) else None
