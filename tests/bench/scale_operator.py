"""The operator of a scale run as a process: what it costs by the kernel, by its own metrics, by the API server's."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from faults import world
from faults.process import Launch, OperatorProcess
from faults.rest import Admin
from meltguard.clock import SystemClock
from meltguard.localcluster.plane import Plane
from support.chart import RELEASE

SAMPLE: Final = re.compile(r"^(?P<name>[a-z_:]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$", re.MULTILINE)
FLOW: Final = 'flow_schema="service-accounts"'
"""Only the operator's requests are of this flow: Kubernetes' own controllers have others."""

MIB: Final = 1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Sums since the operator's start, at one moment."""

    at: float  # seconds on the clock that never jumps
    cpu: float  # seconds
    requests: float  # that the API server answered it
    passes: float  # over services
    pass_seconds: float
    moves: float  # passes of the loop that moves nodes
    move_seconds: float
    memory: float  # MiB resident
    peak: float  # MiB, at most so far


def launch_at(plane: Plane, directory: Path) -> OperatorProcess:
    """The operator with the chart's rights, straight at the API server; not started yet."""
    launch = Launch(
        kubeconfig=plane.kubeconfig_for_service_account(world.OPERATORS, RELEASE),
        config=directory / "config.yaml",
        keys=directory / "keys",
        namespace=world.OPERATORS,
        listen=f"{plane.address(100)}:8080",
        log=directory / "operator.log",
    )
    return OperatorProcess(launch, lambda: None)


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where the operator's costs are read."""

    operator: OperatorProcess
    admin: Admin
    session: aiohttp.ClientSession

    async def look(self) -> Look:
        """All of them now."""
        own, server = await self.own(), (await self.admin.api.get("/metrics") or b"").decode()
        asked = sum(
            value
            for labels, value in _samples(server)["apiserver_flowcontrol_dispatched_requests_total"]
            if FLOW in labels
        )
        resident, peak = memory_of(self.operator.pid)
        return Look(
            at=SystemClock().elapsed(),
            cpu=_cpu(self.operator.pid),
            requests=asked,
            passes=_sum(own, "meltguard_pass_seconds_count"),
            pass_seconds=_sum(own, "meltguard_pass_seconds_sum"),
            moves=_sum(own, "meltguard_loop_seconds_count", 'loop="moves"'),
            move_seconds=_sum(own, "meltguard_loop_seconds_sum", 'loop="moves"'),
            memory=resident,
            peak=peak,
        )

    async def own(self) -> Mapping[str, list[tuple[str, float]]]:
        """The operator's metrics: (labels, value) by name; none where it does not answer."""
        try:
            async with self.session.get(f"http://{self.operator.launch.listen}/metrics") as answer:
                return _samples(await answer.text())
        except aiohttp.ClientError:
            return defaultdict(list)

    async def is_ready(self) -> bool:
        """Whether it has read the whole cluster."""
        try:
            async with self.session.get(f"http://{self.operator.launch.listen}/readyz") as answer:
                return answer.ok
        except aiohttp.ClientError:
            return False


def _samples(text: str) -> Mapping[str, list[tuple[str, float]]]:
    found: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
    for match in SAMPLE.finditer(text):
        found[match["name"]].append((match["labels"] or "", float(match["value"])))
    return found


def _sum(samples: Mapping[str, list[tuple[str, float]]], name: str, label: str = "") -> float:
    return sum(value for labels, value in samples[name] if label in labels)


def _cpu(pid: int) -> float:
    """Seconds of a process, in user and in system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> tuple[float, float]:
    """MiB of a process: resident, and at most so far."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    found = {name: text for name, _, text in (line.partition(":") for line in lines)}
    return int(found["VmRSS"].split()[0]) / MIB, int(found["VmHWM"].split()[0]) / MIB
