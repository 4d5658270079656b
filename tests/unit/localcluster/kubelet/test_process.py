import os
import signal
from pathlib import Path

import pytest

from meltguard.core.units import Seconds
from meltguard.localcluster.kubelet.process import ContainerProcess, Run
from support.eventually import eventually


def a_run(place: Path, script: str) -> Run:
    command = ("sh", "-c", script)
    return Run(command=command, environment=dict(os.environ), directory=place, log=place / "log")


CODES = {"success": ("exit 0", 0), "failure": ("exit 7", 7), "a signal": ("kill -9 $$", 137)}


@pytest.mark.parametrize(("script", "code"), CODES.values(), ids=CODES)
async def test_the_exit_code_is_a_shells(tmp_path: Path, script: str, code: int) -> None:
    process = await ContainerProcess.start(a_run(tmp_path, script))
    assert await process.wait() == code


async def test_a_process_may_use_its_grace(tmp_path: Path) -> None:
    process = await ContainerProcess.start(a_run(tmp_path, "trap 'echo bye; exit 0' TERM; echo up; sleep 100 & wait"))
    await _output(tmp_path, "up")
    await process.end(Seconds(20.0))
    assert await process.wait() == 0
    assert "bye" in (tmp_path / "log").read_text()
    process.kill()


async def test_a_process_that_does_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    process = await ContainerProcess.start(a_run(tmp_path, "trap '' TERM; sh -c 'echo $$; sleep 100'; sleep 100"))
    child = int(await _output(tmp_path, "\n"))
    await process.end(Seconds(0.2))
    assert await process.wait() == 128 + signal.SIGKILL
    await eventually(lambda: not Path(f"/proc/{child}").exists())


async def _output(place: Path, wanted: str) -> str:
    log = place / "log"
    await eventually(lambda: wanted in log.read_text())
    return log.read_text()
