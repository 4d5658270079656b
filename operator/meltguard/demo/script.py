"""What people and accidents do in the middle of the surge, each as soon as the story has come so far.

A developer ships a new version while updates are held; a person looks, and suspends the free tier for a while; the
operator dies.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meltguard.api.policy_status import PolicyStatus
from meltguard.clock import SystemClock
from meltguard.core.policy import TierState
from meltguard.core.rollout_state import RolloutState
from meltguard.core.units import Seconds
from meltguard.demo import scene
from meltguard.demo.facts import Mark
from meltguard.demo.node_host import SERVER
from meltguard.demo.people import PERSON
from meltguard.demo.plan import FREE
from meltguard.demo.shell import Shell
from meltguard.demo.stage import Stage
from meltguard.demo.watch import Watch

LOOK_EVERY: Final = Seconds(0.5)
OVERRIDE_FOR: Final = Seconds(180.0)
"""In the recorded service's time."""

LAW_ALONE: Final = Seconds(10.0)
"""The law's own limit is seen at work for so long before the person steps in."""

BETWEEN: Final = Seconds(5.0)
"""From one act's end to the next, so that a reader can tell them apart."""

SHIPS: Final = f"kubectl set image deployment/{scene.SERVICE} -n {scene.SERVING} {SERVER}={scene.VERSIONS[1]}"
"""What the developer types."""

LOOKS: Final = (
    f"kubectl get isp -n {scene.SERVING}",
    f"kubectl meltguard why {scene.SERVICE} -n {scene.SERVING}",
    "kubectl meltguard loans",
)
"""What a person asks who is called in the middle of it."""

WHY: Final = "the keynote is live, paid users first"


@dataclass(slots=True)
class Script:
    """The acts, in order; an act whose moment does not come is left out, and the report says so."""

    stage: Stage
    watch: Watch
    shell: Shell
    marks: list[Mark] = field(default_factory=list)
    _clock: SystemClock = field(default_factory=SystemClock)

    async def perform(self) -> None:
        """All acts, one after the other. Cancel it when the surge is over."""
        await self._when(_updates_are_held)
        await self._act("ships", f"the Deployment's image becomes {scene.VERSIONS[1]}", self._ship)
        await self._when(_free_is_limited_and_nodes_are_lent)
        async with asyncio.TaskGroup() as meanwhile:
            meanwhile.create_task(self._look())
            await asyncio.sleep(LAW_ALONE)
        await self._act("overrides", f"{PERSON} suspends the free tier for a while", self._override)
        await self._when(_overridden)
        await self._when(_not_overridden)
        await asyncio.sleep(BETWEEN)
        await self._act("killed", "its process gets SIGKILL in the middle of its work", self._kill)

    async def _look(self) -> None:
        for command in LOOKS:
            await self.shell.types(command)

    async def _when(self, holds: Callable[[PolicyStatus], bool]) -> None:
        status = await self.watch.policy()
        while not holds(status):
            await asyncio.sleep(LOOK_EVERY)  # asked, not watched: one object, for a moment
            status = await self.watch.policy()

    async def _act(self, name: str, text: str, act: Callable[[], Awaitable[None]]) -> None:
        await act()
        self.marks.append(Mark(at=self._clock.now(), name=name, text=text))

    async def _ship(self) -> None:
        await self.shell.types(SHIPS)

    async def _override(self) -> None:
        await self.shell.types(override(self.stage.options.speed))

    async def _kill(self) -> None:
        self.shell.say("  * the operator is killed")
        for pid in operator_pids(self.stage.plane.directory).values():
            os.kill(pid, signal.SIGKILL)


def override(speed: float) -> str:
    """What the person types."""
    return (
        f"kubectl meltguard override {scene.SERVICE} -n {scene.SERVING} --tier {FREE} --state Suspend "
        f"--for {OVERRIDE_FOR / speed:.0f}s --reason '{WHY}' --as {PERSON}"
    )


def _updates_are_held(status: PolicyStatus) -> bool:
    return status.rollouts is not None and status.rollouts.state is RolloutState.HELD


def _free_is_limited_and_nodes_are_lent(status: PolicyStatus) -> bool:
    limited = any(limit.tier == FREE and limit.state is not TierState.OPEN for limit in status.limits)
    return limited and bool(status.loans)


def _overridden(status: PolicyStatus) -> bool:
    return bool(status.overrides)


def _not_overridden(status: PolicyStatus) -> bool:
    return not status.overrides


def operator_pids(plane_directory: Path) -> dict[str, int]:
    """Process id by pod name of every `meltguard operator` that runs on this plane."""
    found: dict[str, int] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except (OSError, UnicodeDecodeError):
            continue  # gone meanwhile, or not ours to read
        identity = next((word.removeprefix("--identity=") for word in words if word.startswith("--identity=")), "")
        if "operator" in words and identity and str(plane_directory) in environment:
            found[identity] = int(process.name)
    return found
