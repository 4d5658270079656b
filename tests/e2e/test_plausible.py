"""Metrics that lie, freeze or start anew before a whole operator: no node is claimed or given back by their word."""

import asyncio
import urllib.request
from pathlib import Path

import pytest

from faults import world
from faults.evidence import node_of, read_deeds
from faults.promises import IDENTITY
from faults.rest import path_of
from meltguard.core.fleet import HOMEWARD, MoveStep
from meltguard.localcluster.plane import Plane
from support.eventually import eventually
from support.overload import Overload, an_overload, until

pytestmark = pytest.mark.plane

SERVERS = 6
DAY, DAY_USED = 36.0, 0.75
"""Image units a second on an ordinary busy day, of 48 that six pods of eight GPUs do."""

SURGE = 110.0
DECISIONS = 4
"""So many are awaited under each bad metric: a shortage must last for two, and so does the calm before a return."""

LIE = 1e5


class Ground:
    """An overload's ground with six servers, and what its operator did to nodes."""

    def __init__(self, overload: Overload, plane: Plane) -> None:
        self.overload, self.agents, self.source = overload, overload.ground.agents, overload.source
        self._plane = plane
        self._offset = plane.audit_log.stat().st_size

    async def steps(self) -> set[str]:
        """Steps of the claims that the operator wrote since the test began."""
        deeds = await asyncio.to_thread(read_deeds, self._plane.audit_log, self._offset)
        ours = [deed for deed in deeds if deed.user == IDENTITY and deed.of_nodes and deed.accepted and deed.after]
        return {step for deed in ours if (step := node_of(deed.after).step)}

    async def decisions(self) -> int:
        """Passes over the service, as the operator counts them."""
        text = await asyncio.to_thread(self._metrics)
        lines = [line for line in text.splitlines() if line.startswith("meltguard_pass_seconds_count{")]
        return int(sum(float(line.rpartition(" ")[2]) for line in lines))

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self._plane.address(100)}:8080/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    async def decided(self, times: int = DECISIONS) -> None:
        """So many more decisions."""
        goal = await self.decisions() + times

        async def made() -> bool:
            return await self.decisions() >= goal

        await until(made, 60.0)

    async def says(self, kind: str, words: str) -> None:
        """A condition comes to say this."""

        async def said() -> bool:
            return words in (await self.overload.condition(kind)).get("message", "")

        await until(said, 30.0)

    async def next_change(self, words: str) -> bool:
        """Whether the status says this of what is to change next."""
        return words in (await self.overload.status()).get("decision", {}).get("nextChange", "")

    async def lent(self) -> bool:
        """Whether the loan is open and its pod's agent answers."""
        return MoveStep.LENT.value in await self.steps() and len(self.agents) > SERVERS

    async def gone_home(self) -> bool:
        """Whether it went."""
        return bool(await self.steps() & HOMEWARD)

    async def use_six(self) -> None:
        """Six servers on six nodes, on an ordinary day."""
        admin = self.overload.ground.admin
        names = [f"inference-{number}" for number in range(1, SERVERS + 1)]
        for name in names[2:]:
            await admin.apply(world.a_node(name, "inference"))
        await admin.merge(path_of(world.deployment()), {"spec": {"replicas": SERVERS}})
        self.source.nodes, self.source.used = (*self.source.nodes, *names[2:]), DAY_USED

        await eventually(lambda: len(self.agents) == SERVERS, 60.0)
        self.agents.ask(DAY)
        self.agents.waiting = 0.0


async def nothing_is_claimed(here: Ground) -> None:
    """On an ordinary busy day, whatever one metric says."""
    here.agents.lie(1, LIE)
    await here.says("MetricsAvailable", "units a second, the others of")
    await here.decided()
    here.agents.lie(SERVERS, DAY)  # all of them, beside an exporter that says what it always said
    await here.says("BorrowingBlocked", "no metric of them rose")
    await here.decided()
    here.agents.lie(0, 0.0)
    here.agents.restart()
    await here.decided()
    here.agents.ask(SURGE)
    here.source.used = 2.55  # 255 %
    await here.says("BorrowingBlocked", "utilization is unknown")
    await here.decided()
    assert await here.steps() == set()


async def nothing_goes_home(here: Ground) -> None:
    """The surge is over by the agents' word alone, and the GPUs work."""
    here.agents.freeze(True)
    await until(lambda: here.next_change("no node goes home: utilization 98 %"), 60.0)
    await here.decided()
    here.source.used = 2.55
    await until(lambda: here.next_change("no node goes home: utilization is unknown"), 30.0)
    await here.decided()
    here.agents.restart()
    await here.decided()
    assert not await here.gone_home()


async def test_no_bad_metric_moves_a_node_and_a_true_surge_does(lone_plane: Plane, tmp_path: Path) -> None:
    async with an_overload(lone_plane, tmp_path) as overload:
        here = Ground(overload, lone_plane)
        await here.use_six()
        await overload.apply()
        await until(overload.status, 60.0)
        await here.decided()
        await nothing_is_claimed(here)
        here.source.used = 0.98
        await until(here.lent, 60.0)
        await nothing_goes_home(here)
        here.agents.freeze(False)
        overload.ebb()
        await until(here.gone_home, 60.0)
        await overload.end()
