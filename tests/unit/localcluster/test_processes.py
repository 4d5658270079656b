import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.localcluster.processes import Children, Component
from support.eventually import eventually

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.05; done"
PARENT = """
import sys, threading
from pathlib import Path
from meltguard.localcluster.processes import Children, Component
children = Children(Path(sys.argv[1]))
children.start(Component(name="child", address="", command=("sleep", "1000"), is_ready=lambda: True))
print(children.pids()["child"], flush=True)
threading.Event().wait()
"""


def a_component(*command: str, is_ready: Callable[[], bool] = lambda: True, limit: float = 20) -> Component:
    return Component(name="it", address="", command=command, is_ready=is_ready, ready_limit=Seconds(limit))


def test_a_component_runs_until_the_end_of_the_block(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start(a_component("sh", "-c", STUBBORN, is_ready=(tmp_path / "logs" / "it.log").exists))
        children.await_ready("it")
        pid = children.pids()["it"]
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert children.pids() == {}


def test_a_stopped_component_is_ended_too(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start(a_component("sleep", "1000"))
        pid = children.pids()["it"]
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_component_can_be_started_again(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start(a_component("sleep", "1000"))
        before = children.pids()["it"]
        os.kill(before, signal.SIGKILL)
        children.restart("it")
        assert children.pids()["it"] != before
        with pytest.raises(InvalidInput, match="it has it"):
            children.restart("other")


TROUBLES = {
    "ends at once": (("sh", "-c", "echo no port left; exit 3"), r"(?s)ended with 3 .*no port left"),
    "is not there": (("no-such-program",), r"(?s)ended with 127 .*cannot run no-such-program"),
    "never gets ready": (("sh", "-c", "echo stuck; sleep 1000"), r"(?s)not ready after 1 s.*stuck"),
}


@pytest.mark.parametrize(("command", "says"), TROUBLES.values(), ids=TROUBLES)
def test_trouble_is_told_with_the_end_of_the_log(tmp_path: Path, command: tuple[str, ...], says: str) -> None:
    with Children(tmp_path) as children:
        children.start(a_component(*command, is_ready=lambda: False, limit=1))
        with pytest.raises(Unavailable, match=says):
            children.await_ready("it")


def test_no_child_outlives_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    asyncio.run(eventually(lambda: not Path(f"/proc/{child}").exists()))
