"""The serving pods' agents, on the pods' own addresses: they count what a mood says users ask for."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from faults.world import AGENT_PORT, GPUS, SERVICE
from meltguard.api.agent_report import AgentReport, LimitSource, TierReport

RATE_A_GPU: Final = 1.0
"""Image units a second that one GPU does."""

HOLD: Final = 1.0
"""Seconds for which a report may be held back here."""


class Envelope(msgspec.Struct, frozen=True):
    """A signed document's wrapping."""

    document: str


class Rule(msgspec.Struct, frozen=True):
    """What a document says of one tier."""

    name: str
    state: str = "Open"
    rate: float | None = None


class Stamp(msgspec.Struct, frozen=True):
    """What an agent must repeat of a document, and what it would enforce."""

    epoch: int = 0
    revision: int = 0
    kind: str = ""
    tiers: tuple[Rule, ...] = ()


NO_STAMP: Final = Stamp()


@dataclass(slots=True)
class Agent:
    """One pod's agent: sums since its start."""

    uid: str
    ip: str
    born: float
    at: float
    rate: float = RATE_A_GPU  # image units a second that one GPU does
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)
    offered: float = 0.0
    done: float = 0.0
    busy: float = 0.0
    sequence: int = 0
    stamp: Stamp = NO_STAMP

    def advance(self, now: float, asked: float, made_up: float = 0.0) -> None:
        """Count on to `now` at the rate asked of this pod since the last time, and so much more that nobody asked."""
        span = now - self.at
        did = min(asked, self.rate * GPUS)
        self.offered += (asked + made_up) * span
        self.done += did * span
        self.busy += did / self.rate * span
        self.at = now

    def restart(self) -> None:
        """A new process: it counts from zero."""
        self.instance, self.born, self.sequence = uuid.uuid4().hex, self.at, 0
        self.offered = self.done = self.busy = 0.0

    def report(self, waiting: float) -> AgentReport:
        """As the real agent answers, with so many image units waiting."""
        self.sequence += 1
        tier = TierReport(
            offered_units=self.offered,
            admitted_units=self.done,
            offered=int(self.offered),
            waiting_units=waiting,
        )
        return AgentReport(
            pod_uid=self.uid,
            instance=self.instance,
            sequence=self.sequence,
            uptime=self.at - self.born,
            source=LimitSource.LEASE if self.stamp.epoch else LimitSource.OWN_GPU,
            epoch=self.stamp.epoch,
            revision=self.stamp.revision,
            lease_left=100.0 if self.stamp.epoch else 0.0,
            gpus=GPUS,
            busy_gpu_seconds=self.busy,
            units_done=self.done,
            tiers={"free": tier},
        )


class Agents:
    """All agents of the service; follows its pods. `asked` is image units a second for the whole service."""

    def __init__(self) -> None:
        self.asked = 0.0
        self.waiting = 0.0  # image units in each pod's queue
        self.silent = False  # agents neither answer nor take anything
        self.frozen = False  # they answer, and their counters stand still
        self.liars, self.made_up = 0, 0.0  # so many of them tell of so many image units a second that nobody asked
        self.speeds: dict[str, float] = {}  # by the image that a pod runs: how many times as fast as usual
        self.loading = 0.0  # seconds from a pod's address until its agent answers
        self._seen: dict[str, float] = {}  # by pod: when it had its address
        self._agents: dict[str, Agent] = {}  # by address
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.2)
        self._sites: dict[str, web.TCPSite] = {}

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def ask(self, rate: float) -> None:
        """From now on users ask for so many image units a second."""
        self._advance()
        self.asked = rate

    def lie(self, liars: int, made_up: float) -> None:
        """From now on so many agents tell of so many image units a second more."""
        self._advance()
        self.liars, self.made_up = liars, made_up

    def freeze(self, frozen: bool) -> None:  # noqa: FBT001 - a state
        """From now on counters stand still while the agents' clocks go on, or count again."""
        self._advance()
        self.frozen = frozen

    def restart(self) -> None:
        """Every agent starts anew."""
        self._advance()
        for agent in self._agents.values():
            agent.restart()

    async def follow(self, pods: list[dict[str, Any]]) -> None:
        """One agent on each serving pod that has an address and has loaded its model, and on no other."""
        self._advance()
        serving = {
            pod["status"]["podIP"]: (pod["metadata"]["uid"], pod["spec"]["containers"][0]["image"])
            for pod in pods
            if pod["metadata"].get("labels", {}).get("app") == SERVICE and pod["status"].get("podIP")
        }
        now = time.monotonic()
        self._seen = {uid: self._seen.get(uid, now) for uid, _ in serving.values()}
        serving = {ip: pod for ip, pod in serving.items() if now - self._seen[pod[0]] >= self.loading}
        for ip in [ip for ip, agent in self._agents.items() if serving.get(ip, ("",))[0] != agent.uid]:
            del self._agents[ip]
            await self._sites.pop(ip).stop()
        for ip in serving.keys() - self._agents.keys():
            site = web.TCPSite(self._runner, ip, AGENT_PORT)
            await site.start()
            self._sites[ip] = site
            uid, image = serving[ip]
            rate = RATE_A_GPU * self.speeds.get(image, 1.0)
            self._agents[ip] = Agent(uid=uid, ip=ip, born=now - 60.0, at=now, rate=rate)

    def __len__(self) -> int:
        return len(self._agents)

    def rules(self, tier: str) -> list[Rule]:
        """What each agent was told of a tier last."""
        return [rule for agent in self._agents.values() for rule in agent.stamp.tiers if rule.name == tier]

    def _advance(self) -> None:
        now = time.monotonic()
        for number, agent in enumerate(self._agents.values()):
            if self.frozen:
                agent.at = now
            else:
                agent.advance(now, self.asked / len(self._agents), self.made_up if number < self.liars else 0.0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        ip = request.transport.get_extra_info("sockname")[0] if request.transport else ""
        agent = self._agents.get(ip)
        if agent is None or self.silent:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if request.method == "PUT":
            envelope = msgspec.json.decode(await request.read(), type=Envelope)
            stamp = msgspec.json.decode(envelope.document, type=Stamp)
            agent.stamp = NO_STAMP if stamp.kind == "Released" else stamp
        elif float(request.query.get("wait", "0")) > 0:
            await asyncio.sleep(HOLD)
        self._advance()
        return web.Response(
            body=agent.report(self.waiting).model_dump_json(by_alias=True), content_type="application/json"
        )
