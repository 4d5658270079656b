"""Brings a decision's limits to every serving pod and keeps track of who acknowledged what."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import NamedTuple

from meltguard.api.store_state import StoreState
from meltguard.controller.agents import AgentBook
from meltguard.core.decision import Decision
from meltguard.core.grant import Grant
from meltguard.core.granting import LEASE_TTL, Stamp, grant_for, lapsed_rates, released
from meltguard.core.policy import Policy
from meltguard.core.pushing import InForce, Rates, Silent, content, finish_push, larger, lesser, plan_push, steadied
from meltguard.core.units import Epoch, NodeName, PodUid, Revision, Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Clock, LimitSink, Target

RENEW_AFTER = Seconds(LEASE_TTL / 3)
RETRY_LAGGARD = Seconds(5.0)
"""A pod that did not take its last push is tried again after this long, so that it holds nobody else up."""


class Lease(NamedTuple):
    """What a pod may have been told."""

    rates: Rates
    until: Seconds


@dataclass(slots=True)
class Sent:
    """What was last sent to one pod."""

    content: tuple[object, ...]
    rates: Rates  # handed out
    revision: Revision
    at: Seconds
    acknowledged: bool
    leases: tuple[Lease, ...]  # one of which it goes by, as long as it lives: the last acknowledged, and those since
    leased_until: Seconds  # for certain; from then on it may go by its baseline
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
    totals: Rates = field(default_factory=dict)  # of the tiers that are limited, as last handed out
    sent: dict[PodUid, Sent] = field(default_factory=dict)
    failures: int = 0
    baseline: Grant | None = None  # what pods without a lease go by; None: not known
    tightened: frozenset[NodeName] = frozenset()  # on their way home, and all ready pods' limits do without them

    async def enforce(self, policy: Policy, decision: Decision, baseline: Grant | None = None) -> Enforcement:
        """Hand out what has changed: decreases first, increases once those are acknowledged."""
        self.baseline = baseline
        started = self.clock.elapsed()
        targets = {target.pod: target for target in self.book.targets()}
        self._forget_all_but(targets)
        totals = steadied(self.totals, decision)
        lagging = frozenset(pod for pod, sent in self.sent.items() if not sent.acknowledged)
        due = frozenset(pod for pod in lagging if started - self.sent[pod].at >= RETRY_LAGGARD)
        force = InForce(totals=self.totals, held=self._held(), least=self._held(lesser))
        plan = plan_push(totals, list(targets), self.book.loads(), force, Silent(pods=lagging, tried=due))
        times = await self._push_changed(policy, decision, targets, plan.decrease)
        if plan.increases:
            final = finish_push(plan, self._held())
            times += await self._push_changed(policy, decision, targets, final)
        self.totals = totals
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
        sent = Sent(
            content=content(grant),
            rates=rates,
            revision=grant.revision,
            at=now,
            acknowledged=False,
            leases=before.leases if before else (Lease({}, Seconds(now + LEASE_TTL)),),
            leased_until=before.leased_until if before else Seconds(now + LEASE_TTL),
        )
        try:
            counters = await self.sink.push(target, grant)
        except (Unavailable, InvalidInput) as exc:
            sent.trouble = str(exc)
            sent.trouble_since = before.trouble_since if before and before.trouble else now
            sent.leases = self._perhaps_heard(sent)
            self.sent[target.pod] = sent
            self.failures += 1
            return None
        self.book.record(target.pod, counters)
        sent.acknowledged = (counters.epoch, counters.revision) == (self.epoch, grant.revision)
        if sent.acknowledged:
            sent.leased_until = Seconds(self.clock.elapsed() + LEASE_TTL)
            sent.leases = (Lease(rates, sent.leased_until),)
        else:
            sent.leases = self._perhaps_heard(sent)
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

    def _forget_all_but(self, pods: Mapping[PodUid, Target]) -> None:
        for gone in self.sent.keys() - pods.keys():
            del self.sent[gone]

    def _store_state(self, pod: PodUid) -> StoreState | None:
        counters = self.book.counters(pod)
        return None if counters is None else StoreState.read(counters.quota_store)

    def _held(self, of_two: Callable[[Rates, Rates], Rates] = larger) -> dict[PodUid, Rates]:
        """What each pod may be using: at most, or at least, of all that it may have heard."""
        now = self.clock.elapsed()
        return {pod: reduce(of_two, self._may_hold(sent, now)) for pod, sent in self.sent.items()}

    def _may_hold(self, sent: Sent, now: Seconds) -> list[Rates]:
        """All that a pod may go by; without a limit where it never answered."""
        may = [lease.rates for lease in sent.leases if lease.until > now]
        if now >= sent.leased_until:
            lapsed = Seconds(now - sent.leased_until)
            may.append({} if self.baseline is None else lapsed_rates(self.baseline, lapsed))
        return may

    def _perhaps_heard(self, sent: Sent) -> tuple[Lease, ...]:
        """A pod that did not answer may have heard, or not: then it goes on with what it had."""
        now = self.clock.elapsed()
        alive = (lease for lease in sent.leases if lease.until > now)
        return (*alive, Lease(sent.rates, Seconds(now + LEASE_TTL)))

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
