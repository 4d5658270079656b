"""The serving pods' agents, on the pods' own addresses: they count what a mood says users ask for."""

import asyncio
import itertools
import math
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from faults.world import AGENT_PORT, GPUS, SERVICE
from meltguard.api.agent_report import AgentReport, LimitSource, TierReport
from meltguard.clock import SystemClock

RATE_A_GPU: Final = 1.0
"""Image units a second that one GPU does."""

HOLD: Final = 1.0
"""Seconds for which a report may be held back here."""

LEAST: Final = 1e-9
"""Of an image, or of a second: what is less is nothing."""


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


@dataclass(frozen=True, slots=True)
class Told:
    """A document that an agent took."""

    at: float  # seconds since the epoch
    uid: str  # the pod's
    limits: Stamp

    def rate(self, tier: str) -> float:
        """What the tier may have; infinite without a limit."""
        found = next((one.rate for one in self.limits.tiers if one.name == tier), None)
        return float("inf") if found is None else found


class ImageTimes:
    """GPU-seconds that one image unit after the other takes: alike but for chance, which a seed repeats."""

    def __init__(self, strays: float, seed: str) -> None:
        self._strays = strays
        self._dice = random.Random(seed)  # noqa: S311 - a rehearsal
        self._left = 0.0  # of the image that is being made
        self._stray = 1.0

    def make(self, units: float, seconds: float, rate: float) -> tuple[float, float]:
        """At most so many units in at most so many GPU-seconds; what was done, and the time that it took."""
        done = busy = 0.0
        while units - done > LEAST and seconds - busy > LEAST:
            if self._left <= LEAST:
                self._left = 1.0
                self._stray = math.exp(self._dice.gauss(0.0, self._strays) - self._strays**2 / 2.0)
            cost = self._stray / rate
            part = min(self._left, units - done, (seconds - busy) / cost)
            self._left -= part
            done, busy = done + part, busy + part * cost
        return done, busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A serving pod."""

    uid: str
    image: str
    node: str


def server_of(pod: dict[str, Any]) -> Server:
    """A pod from its decoded JSON."""
    spec = pod["spec"]
    return Server(uid=pod["metadata"]["uid"], image=spec["containers"][0]["image"], node=spec.get("nodeName", ""))


@dataclass(slots=True)
class Agent:
    """One pod's agent: sums since its start."""

    server: Server
    ip: str
    born: float
    at: float
    times: ImageTimes
    rate: float  # image units a second that one GPU does
    instance: str = field(default_factory=lambda: uuid.uuid4().hex)
    offered: float = 0.0
    done: float = 0.0
    busy: float = 0.0
    sequence: int = 0
    stamp: Stamp = NO_STAMP

    def advance(self, now: float, asked: float, made_up: float = 0.0) -> None:
        """Count on to `now` at the rate asked of this pod since the last time, and so much more that nobody asked."""
        span = now - self.at
        done, busy = self.times.make(asked * span, GPUS * span, self.rate)
        self.offered += (asked + made_up) * span
        self.done += done
        self.busy += busy
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
            pod_uid=self.server.uid,
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

    def __init__(self, service: str = SERVICE) -> None:
        self.service = service
        self.asked = 0.0
        self.waiting = 0.0  # image units in each pod's queue
        self.silent = False  # agents neither answer nor take anything
        self.frozen = False  # they answer, and their counters stand still
        self.liars, self.made_up = 0, 0.0  # so many of them tell of so many image units a second that nobody asked
        self.speeds: dict[str, float] = {}  # by the image that a pod runs: how many times as fast as usual
        self.cards: Mapping[str, float] = {}  # by node: the same of its GPUs
        self.told: list[Told] = []  # every document that was taken
        self.strays = 0.0  # how far the time of one image unit strays: the deviation of its logarithm
        self._numbers = itertools.count()
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

    def turn(self, image: str, speed: float) -> None:
        """From now on pods with this image are so many times as fast as usual, those that run it already too."""
        self._advance()
        self.speeds = {**self.speeds, image: speed}
        self._set_rates()

    def fit(self, cards: Mapping[str, float]) -> None:
        """From now on these nodes' GPUs are so many times as fast as usual, those that work already too."""
        self._advance()
        self.cards = cards
        self._set_rates()

    def _set_rates(self) -> None:
        for agent in self._agents.values():
            agent.rate = self._rate(agent.server)

    def published(self, tier: str) -> float | None:
        """What all pods together may admit of a tier, as their documents say; None where one of them has no rate."""
        rates = [one.rate for agent in self._agents.values() for one in agent.stamp.tiers if one.name == tier]
        told = [rate for rate in rates if rate is not None]
        return sum(told) if len(told) == len(self._agents) else None

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
            pod["status"]["podIP"]: server_of(pod)
            for pod in pods
            if pod["metadata"].get("labels", {}).get("app") == self.service and pod["status"].get("podIP")
        }
        now = time.monotonic()
        self._seen = {one.uid: self._seen.get(one.uid, now) for one in serving.values()}
        serving = {ip: one for ip, one in serving.items() if self._has_loaded(ip, one.uid, now)}
        for ip in [ip for ip, agent in self._agents.items() if serving.get(ip) != agent.server]:
            del self._agents[ip]
            await self._sites.pop(ip).stop()
        for ip in serving.keys() - self._agents.keys():
            site = web.TCPSite(self._runner, ip, AGENT_PORT)
            await site.start()
            self._sites[ip] = site
            times = ImageTimes(self.strays, f"agent {next(self._numbers)}")
            rate = self._rate(serving[ip])
            self._agents[ip] = Agent(server=serving[ip], ip=ip, born=now - 60.0, at=now, times=times, rate=rate)

    def _rate(self, server: Server) -> float:
        return RATE_A_GPU * self.speeds.get(server.image, 1.0) * self.cards.get(server.node, 1.0)

    def _has_loaded(self, ip: str, uid: str, now: float) -> bool:
        """Who answers already does not load anew."""
        answers = ip in self._agents and self._agents[ip].server.uid == uid
        return answers or now - self._seen[uid] >= self.loading

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
            self.told.append(Told(SystemClock().now(), agent.server.uid, stamp))
            agent.stamp = NO_STAMP if stamp.kind == "Released" else stamp
        elif float(request.query.get("wait", "0")) > 0:
            await asyncio.sleep(HOLD)
        self._advance()
        return web.Response(
            body=agent.report(self.waiting).model_dump_json(by_alias=True), content_type="application/json"
        )
