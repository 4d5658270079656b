"""Brings a decision's limits to every serving pod and keeps track of who acknowledged what."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from meltguard.api.store_state import StoreState
from meltguard.controller.agents import AgentBook
from meltguard.core.decision import Decision
from meltguard.core.grant import Grant
from meltguard.core.granting import LEASE_TTL, Stamp, grant_for, released
from meltguard.core.policy import Policy
from meltguard.core.pushing import InForce, Rates, content, finish_push, plan_push, steadied
from meltguard.core.units import Epoch, NodeName, PodUid, Revision, Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Clock, LimitSink, Target

RENEW_AFTER = Seconds(LEASE_TTL / 3)
RETRY_LAGGARD = Seconds(5.0)
"""A pod that did not take its last push is tried again after this long, so that it holds nobody else up."""


@dataclass(slots=True)
class Sent:
    """What was last sent to one pod."""

    content: tuple[object, ...]
    rates: Rates
    revision: Revision
    at: Seconds
    acknowledged: bool
    trouble: str = ""
    trouble_since: Seconds = Seconds(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Laggard:
    """A pod that has not acknowledged, why, and for how long."""

    pod: str
    cause: str
    lasting: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """How far the limits have come."""

    revision: Revision
    pods: int
    acknowledged: int
    laggards: tuple[Laggard, ...]
    stores: Mapping[StoreState, int]  # pods by how their quota store stands
    ack_times: tuple[Seconds, ...]  # of the pushes of this pass, from its begin to each answer
    failures: int = 0  # pushes that were not acknowledged, since the term began

    @property
    def stores_down(self) -> int:
        """Pods that cannot count quotas."""
        return sum(pods for state, pods in self.stores.items() if not state.counts)


@dataclass(slots=True)
class Enforcer:
    """One service's pushes, within one epoch."""

    sink: LimitSink
    clock: Clock
    book: AgentBook
    epoch: Epoch
    revision: Revision = field(default=Revision(0))
    force: InForce = field(default_factory=InForce)
    sent: dict[PodUid, Sent] = field(default_factory=dict)
    failures: int = 0
    tightened: frozenset[NodeName] = frozenset()  # on their way home, and all ready pods' limits do without them

    async def enforce(self, policy: Policy, decision: Decision) -> Enforcement:
        """Hand out what has changed: decreases first, increases once those are acknowledged."""
        started = self.clock.elapsed()
        targets = {target.pod: target for target in self.book.targets()}
        self._forget_all_but(targets)
        totals = steadied(self.force.totals, decision)
        silent = frozenset(pod for pod in targets if self._is_lagging(pod, started))
        plan = plan_push(totals, list(targets), self.book.loads(), self.force, silent)
        times = await self._push_changed(policy, decision, targets, plan.decrease)
        if plan.increases:
            final = finish_push(plan, self._held())
            times += await self._push_changed(policy, decision, targets, final)
        self.force = InForce(totals=totals, held=self._held())
        done = self._enforcement(targets, tuple(Seconds(at - started) for at in times))
        self.tightened = decision.leaving if done.acknowledged == done.pods else self.tightened & decision.leaving
        return done

    def waiting(self) -> Enforcement:
        """How far the limits have come while nothing is handed out yet."""
        return self._enforcement({target.pod: target for target in self.book.targets()}, ())

    async def release(self, policy: Policy) -> tuple[str, ...]:
        """Tell every agent that the policy is gone; the pods that did not hear it."""
        targets = self.book.targets()
        stamp = self._stamp()
        answers = await asyncio.gather(
            *(self._push_one(target, released(policy, target.pod, stamp), {}) for target in targets)
        )
        return tuple(target.name for target, at in zip(targets, answers, strict=True) if at is None)

    async def _push_changed(
        self, policy: Policy, decision: Decision, targets: Mapping[PodUid, Target], rates: Mapping[PodUid, Rates]
    ) -> list[Seconds]:
        stamp = self._stamp()
        due: list[tuple[Target, Grant, Rates]] = []
        for pod, pod_rates in rates.items():
            grant = grant_for(policy, decision, (pod, len(targets)), pod_rates, stamp)
            if self._is_due(pod, grant, pod_rates):
                due.append((targets[pod], grant, pod_rates))
        if not due:
            return []
        self.revision = stamp.revision
        answers = await asyncio.gather(*(self._push_one(*one) for one in due))
        return [at for at in answers if at is not None]

    async def _push_one(self, target: Target, grant: Grant, rates: Rates) -> Seconds | None:
        """Push, and remember how it went; when the answer came, None where none did."""
        before = self.sent.get(target.pod)
        now = self.clock.elapsed()
        sent = Sent(content=content(grant), rates=rates, revision=grant.revision, at=now, acknowledged=False)
        try:
            counters = await self.sink.push(target, grant)
        except (Unavailable, InvalidInput) as exc:
            sent.trouble = str(exc)
            sent.trouble_since = before.trouble_since if before and before.trouble else now
            sent.rates = before.rates if before else {}  # it goes on with what it had
            self.sent[target.pod] = sent
            self.failures += 1
            return None
        self.book.record(target.pod, counters)
        sent.acknowledged = (counters.epoch, counters.revision) == (self.epoch, grant.revision)
        if not sent.acknowledged:
            sent.trouble = f"answers that it enforces revision {counters.revision} of epoch {counters.epoch}"
            sent.trouble_since = now
            self.failures += 1
        self.sent[target.pod] = sent
        return self.clock.elapsed()

    def _is_due(self, pod: PodUid, grant: Grant, rates: Rates) -> bool:
        sent = self.sent.get(pod)
        if sent is None or not sent.acknowledged:
            return True
        lapsing = self.clock.elapsed() - sent.at >= RENEW_AFTER
        counters = self.book.counters(pod)
        forgot = counters is not None and not counters.leased
        return lapsing or forgot or sent.rates != rates or sent.content != content(grant)

    def _is_lagging(self, pod: PodUid, now: Seconds) -> bool:
        sent = self.sent.get(pod)
        return sent is not None and not sent.acknowledged and now - sent.at < RETRY_LAGGARD

    def _forget_all_but(self, pods: Mapping[PodUid, Target]) -> None:
        for gone in self.sent.keys() - pods.keys():
            del self.sent[gone]

    def _store_state(self, pod: PodUid) -> StoreState | None:
        counters = self.book.counters(pod)
        return None if counters is None else StoreState.read(counters.quota_store)

    def _held(self) -> dict[PodUid, Rates]:
        return {pod: sent.rates for pod, sent in self.sent.items()}

    def _stamp(self) -> Stamp:
        return Stamp(epoch=self.epoch, revision=Revision(self.revision + 1), at=self.clock.now())

    def _enforcement(self, targets: Mapping[PodUid, Target], times: tuple[Seconds, ...]) -> Enforcement:
        now = self.clock.elapsed()
        lagging = [(targets[pod].name, sent) for pod, sent in self.sent.items() if not sent.acknowledged]
        return Enforcement(
            revision=self.revision,
            pods=len(targets),
            acknowledged=sum(sent.acknowledged for sent in self.sent.values()),
            laggards=tuple(
                Laggard(pod=name, cause=sent.trouble, lasting=Seconds(now - sent.trouble_since))
                for name, sent in lagging
            ),
            stores=Counter(filter(None, map(self._store_state, targets))),
            ack_times=times,
            failures=self.failures,
        )
