"""`python -m meltguard.localcluster.supervisor POST KEEP`: holds a plane until SIGTERM."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import MeltguardError
from meltguard.localcluster.cache import try_lock
from meltguard.localcluster.detached import Post, State, write_state
from meltguard.localcluster.plane import Plane, PlaneOptions, running_plane
from meltguard.localcluster.progress import PlainProgress

LOCK_LIMIT: Final = Seconds(3.0)
LOOK_EVERY: Final = Seconds(0.05)


def hold(post: Post, *, keep_data: bool) -> None:
    """Run the plane until the process is told to end."""
    _lock(post)
    post.lock.write_text(str(os.getpid()))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    try:
        with running_plane(PlaneOptions(keep_data=keep_data), PlainProgress(sys.stdout)) as plane:
            write_state(post, _state(plane, keep_data=keep_data))
            threading.Event().wait()
    except MeltguardError as exc:
        sys.exit(f"error: {exc}")
    finally:
        post.state.unlink(missing_ok=True)


def _lock(post: Post) -> None:
    """For the rest of this process's life. Others look at the lock by taking it for a moment, so once is not enough."""
    deadline = time.monotonic() + LOCK_LIMIT
    while try_lock(post.lock) is None:
        if time.monotonic() > deadline:
            sys.exit(f"another supervisor holds {post.lock}")
        time.sleep(LOOK_EVERY)


def _leave(number: int, _: FrameType | None) -> None:
    """Once: a second signal must not break off the orderly end."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(0)


def _state(plane: Plane, *, keep_data: bool) -> State:
    return State(
        directory=plane.directory,
        block=plane.block.number,
        kubeconfig=plane.kubeconfig,
        prometheus_url=plane.prometheus_url,
        valkey_url=plane.valkey_url,
        pids=plane.processes,
        keep_data=keep_data,
    )


if __name__ == "__main__":
    hold(Post(Path(sys.argv[1])), keep_data=sys.argv[2] == "1")
