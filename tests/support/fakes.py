"""Fakes behind the ports. Each passes the same contract suite as the real adapter (tests/contract/test_ports_*)."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from meltguard.core.fleet import FleetView, Guards, NodeView, PodView, by_namespace
from meltguard.core.grant import Grant, GrantKind
from meltguard.core.load import AgentCounters
from meltguard.core.metrics import MetricAnswer, MetricSample
from meltguard.core.pledged import pledged_pods
from meltguard.core.policy import Signal
from meltguard.core.units import Gpus, Instant, NodeName, PodUid, Revision, Seconds, Units
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Target

EPOCH_START = Instant(1_800_000_000.0)


@dataclass
class FakeClock:
    """Both clocks, moved by hand; they may be moved apart, as real ones are."""

    wall: float = EPOCH_START
    steady: float = 1_000.0

    def now(self) -> Instant:
        """The time of day."""
        return Instant(self.wall)

    def elapsed(self) -> Seconds:
        """The clock that never jumps."""
        return Seconds(self.steady)

    def advance(self, seconds: float) -> None:
        """Let time pass on both."""
        self.wall += seconds
        self.steady += seconds

    def step(self, seconds: float) -> None:
        """Set the time of day, as an administrator or NTP does."""
        self.wall += seconds


@dataclass
class FakeMetrics:
    """Answers as told, by source and signal name; an unknown source is a problem, an untold signal is empty."""

    answers: dict[tuple[str, str], MetricAnswer] = field(default_factory=dict)
    sources: set[str] = field(default_factory=lambda: {"default"})
    reads: Counter[tuple[str, str]] = field(default_factory=Counter)

    def tell(self, signal: str, *samples: MetricSample, source: str = "default", problem: str = "") -> None:
        """What a signal answers from now on."""
        self.answers[source, signal] = MetricAnswer(samples=samples, problem=problem)

    async def read(self, source: str, signal: Signal) -> MetricAnswer:
        """The answer told last."""
        await asyncio.sleep(0)
        self.reads[source, signal.name] += 1
        if source not in self.sources:
            known = ", ".join(sorted(self.sources)) or "none"
            return MetricAnswer(samples=(), problem=f"no metrics source {source!r}; there are: {known}")
        return self.answers.get((source, signal.name), MetricAnswer(samples=()))


@dataclass
class FakeFleet:
    """Nodes and pods in memory. `seen` may lag behind `nodes`, as a watch does; `away` cuts it off."""

    nodes: dict[NodeName, NodeView] = field(default_factory=dict)
    pending: tuple[PodView, ...] = ()
    seen: FleetView | None = None  # None: the view shows the truth
    guarded: Guards = field(default_factory=Guards)
    age: Seconds = Seconds(0.0)
    away: bool = False

    def put(self, *nodes: NodeView) -> None:
        """Create or replace nodes."""
        self.nodes.update({node.name: node for node in nodes})

    def lag(self) -> None:
        """From now on the view stays as it is."""
        self.seen = self.view()

    def catch_up(self) -> None:
        """The view shows the truth again."""
        self.seen = None

    def view(self) -> FleetView:
        """The cluster as last seen."""
        if self.seen is not None:
            return replace(self.seen, age=self.age)
        nodes = tuple(self.nodes[name] for name in sorted(self.nodes))
        guards = replace(self.guarded, pledged=pledged_pods(nodes))
        spaces = by_namespace(nodes, self.pending)
        return FleetView(nodes=nodes, pending=self.pending, spaces=spaces, age=self.age, guards=guards)

    async def fresh(self, node: NodeName) -> NodeView | None:
        """The truth, unless cut off."""
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable(f"GET node {node}: no answer")
        return self.nodes.get(node)

    async def members(self, labels: Mapping[str, str]) -> tuple[NodeView, ...]:
        """The truth, unless cut off; without pods."""
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("LIST nodes: no answer")
        found = (node for node in self.nodes.values() if labels.items() <= node.labels.items())
        return tuple(replace(node, pods=()) for node in sorted(found, key=lambda node: node.name))

    async def guards(self, namespaces: frozenset[str]) -> Guards:
        """The truth of these namespaces, unless cut off."""
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable(f"GET budgets and Jobs of {', '.join(sorted(namespaces))}: no answer")
        return Guards(
            budgets=tuple(one for one in self.guarded.budgets if one.namespace in namespaces),
            jobs=tuple(one for one in self.guarded.jobs if one.namespace in namespaces),
        )


@dataclass
class FakeSink:
    """Agents that obey at once. `silent` ones give no answer, `refusing` ones say no; `pushed` is the log.

    A read that may be held is answered at once unless the agent has nothing new: then it waits for `tell`.
    """

    counters: dict[PodUid, AgentCounters] = field(default_factory=dict)
    pushed: list[tuple[PodUid, Grant]] = field(default_factory=list)
    silent: set[PodUid] = field(default_factory=set)
    refusing: dict[PodUid, str] = field(default_factory=dict)
    hold: Seconds = Seconds(0.05)
    _news: defaultdict[PodUid, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    def tell(self, pod: PodUid, **changes: object) -> None:
        """Something happened at an agent: its counters change and its sequence moves on."""
        before = self._of(pod)
        self.counters[pod] = replace(before, sequence=before.sequence + 1, **changes)  # type: ignore[arg-type] # a test's
        self._news[pod].set()
        self._news[pod] = asyncio.Event()

    async def push(self, target: Target, grant: Grant) -> AgentCounters:
        """Enforce the grant, unless it is older than what is enforced."""
        await self._reach(target)
        before = self._of(target.pod)
        if (grant.epoch, grant.revision) < (before.epoch, before.revision):
            raise InvalidInput(f"the agent of {target.name} refuses: revision {grant.revision} is not newer")
        self.pushed.append((target.pod, grant))
        leased = grant.kind in {GrantKind.ENFORCE, GrantKind.OBSERVE}
        self.tell(target.pod, leased=leased, epoch=int(grant.epoch), revision=grant.revision)
        return self.counters[target.pod]

    async def read(self, target: Target, after: int) -> AgentCounters:
        """The counters, at once where there is news."""
        await self._reach(target)
        if after >= 0 and self._of(target.pod).sequence <= after:
            news = self._news[target.pod]
            try:
                async with asyncio.timeout(self.hold):
                    await news.wait()
            except TimeoutError:
                pass
        return self._of(target.pod)

    async def _reach(self, target: Target) -> None:
        await asyncio.sleep(0)
        if target.pod in self.silent:
            raise Unavailable(f"the agent of {target.name} gave no answer within 2 s")
        if target.pod in self.refusing:
            raise InvalidInput(f"the agent of {target.name} refuses: {self.refusing[target.pod]}")

    def _of(self, pod: PodUid) -> AgentCounters:
        return self.counters.get(pod) or some_counters(pod)


def some_counters(pod: PodUid) -> AgentCounters:
    """An agent that has just started."""
    return AgentCounters(
        pod=pod,
        instance="1",
        sequence=0,
        uptime=Seconds(1.0),
        leased=False,
        epoch=0,
        revision=Revision(0),
        gpus=Gpus(1),
        busy=Seconds(0.0),
        done=Units(0.0),
        in_flight=Units(0.0),
        quota_store="unused",
        tiers={},
    )
