"""One service's loop: observe, decide, apply. The clock is read once a pass."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.api.memory import read_memory
from meltguard.api.policy_status import HistoryEntry, PolicyStatus
from meltguard.api.signed import SigningKey
from meltguard.api.to_core import PolicyObject
from meltguard.clock import rfc3339
from meltguard.controller.agents import AgentBook
from meltguard.controller.baseline import BaselineKeeper
from meltguard.controller.board import Board
from meltguard.controller.conditions import Pass, refused_loan
from meltguard.controller.enforcer import Enforcement, Enforcer
from meltguard.controller.events import EventLog, Reason, policy_ref
from meltguard.controller.marks import marks_of
from meltguard.controller.observe import Observer
from meltguard.controller.resources import POLICIES
from meltguard.controller.rollouts import RolloutKeeper, SeenRollout
from meltguard.controller.status import policy_status, status_patch
from meltguard.controller.telemetry import Telemetry
from meltguard.controller.telling import Said, changes, loan_changes
from meltguard.controller.trials import TrialBook
from meltguard.controller.troubles import TroubleBook
from meltguard.controller.workloads import Workloads, workload_ref
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import Claim
from meltguard.core.memory import Memory
from meltguard.core.policy import Level, Mode, TierState
from meltguard.core.replicas import OnLoan, replicas
from meltguard.core.seen import Snapshot
from meltguard.core.units import Epoch, Instant, NodeName, Seconds
from meltguard.core.wording import counted
from meltguard.errors import InvalidInput
from meltguard.ports import Clock, LimitSink

log = logging.getLogger(__name__)

WRITE_EVERY = Seconds(10.0)
"""Status is written when something changed, else at most this often."""

LONG_POLL_WORTH = Seconds(4.0)
"""A service with a shorter wait target cannot bear readings that a calm agent holds back for ten seconds."""

MOST_HISTORY = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every service's loop works with."""

    observer: Observer
    objects: KubernetesObjects
    sink: LimitSink
    events: EventLog
    telemetry: Telemetry
    clock: Clock
    board: Board
    key: SigningKey
    epoch: Epoch
    rollouts: RolloutKeeper
    workloads: Workloads


class ServiceLoop:
    """One policy, from its first sight to its release."""

    def __init__(self, means: Means, found: PolicyObject) -> None:
        self._means = means
        self.found = found
        self.wake = asyncio.Event()
        self._book = AgentBook(means.sink, means.clock, self.wake.set)
        self._enforcer = Enforcer(sink=means.sink, clock=means.clock, book=self._book, epoch=means.epoch)
        self._trials = TrialBook(self._book)
        self._memory: Memory = read_memory(found.status.memory)
        means.board.remember(self._memory.rested)
        self._status: PolicyStatus = found.status
        self._written: tuple[Seconds, tuple[object, ...]] | None = None
        self._changed: Instant = means.clock.now()
        self._before: Decision | None = None
        self._claims: Mapping[NodeName, Claim] | None = None  # at the last pass
        self._history = found.status.history
        self._baseline = BaselineKeeper(means.objects, means.key)
        self._troubles = TroubleBook(found.status.conditions, self._changed)
        self.released = False
        self.settled = False  # nothing is left to take back from the workload

    async def run_once(self) -> None:
        """One pass."""
        if self.found.deleting:
            await self._release()
            return
        started = self._means.clock.elapsed()
        found, means = self.found, self._means
        seen, rollout = await means.observer.observe(found, self._book)
        now = means.clock.now()
        heat = {} if self._before is None else self._before.heat
        counted = self._trials.counted(seen, heat)
        others = means.board.others(found.policy.uid, now)
        seen = replace(seen, peers=others, trial=counted, tightened=self._enforcer.tightened)
        memory = replace(self._memory, rested=dict(means.board.rested))
        decision = decide(found.policy, memory, seen, now)
        self._memory = decision.memory
        calm = decision.level is Level.NORMAL and all(limit.state is TierState.OPEN for limit in decision.limits)
        self._book.calm = calm and found.policy.wait_target >= LONG_POLL_WORTH
        means.board.decided(found.policy, decision)
        enforcement = (
            self._enforcer.waiting()
            if decision.learning
            else await self._enforcer.enforce(found.policy, decision, self._baseline.grant)
        )
        means.telemetry.decided(found.policy, decision, seen, enforcement)
        await self._apply(decision, seen)
        if not decision.learning:
            await self._hold_updates(decision, rollout)
        await self._tell(decision, seen)
        await self._write_status(seen, decision, enforcement)
        self._before = decision
        service = (found.policy.namespace, found.policy.name)
        means.telemetry.pass_seconds.labels(*service).observe(means.clock.elapsed() - started)

    def vanish(self) -> None:
        """The policy is not there any more: let go of everything that was done for it."""
        if not self.found.deleting:
            self.found = replace(self.found, deleting=True)
            self.wake.set()

    def has_newcomers(self) -> bool:
        """Whether a serving pod is Ready that the last pass did not know."""
        known = {target.pod for target in self._book.targets()}
        return any(pod.uid not in known for pod in self._means.observer.serving_pods(self.found))

    async def close(self) -> None:
        """Stop reading the agents."""
        await self._book.close()

    async def _release(self) -> None:
        """The policy is being deleted: tell the agents once; its nodes go home by the mover."""
        self._means.board.forget(self.found.policy.uid)
        if self.released:
            await self._take_pods_back()
            return
        unheard = await self._enforcer.release(self.found.policy)
        await self._means.rollouts.let_go(self.found, workload_ref(self.found))
        self.released = True
        deaf = counted(len(unheard), "agent")
        text = f"{deaf} did not hear of the release" if unheard else "the agents were released"
        await self._means.events.say(policy_ref(self.found.policy), Reason.RELEASED, text)

    async def _take_pods_back(self) -> None:
        """The workload has as many pods as before the first loan once the last node is home."""
        loans = self._means.observer.loans(self.found)
        try:
            workload = await self._means.workloads.now(self.found)
        except InvalidInput:
            workload = None
        if workload is None:
            self.settled = True  # there is no workload that could have more pods than before
            return
        no_limits = frozenset(node.name for node in loans)
        on_loan = OnLoan(nodes=loans, asked=self._means.observer.gpu_kinds(self.found), tightened=no_limits)
        pods = replicas(replace(self.found.policy, mode=Mode.ENFORCE), self._memory, on_loan, workload)
        self._memory = pods.remembered(self._memory)
        # Another writer's number is left alone: nobody waits for it either.
        self.settled = pods.found is None or (not loans and pods.change is None)
        await self._means.workloads.write(self.found, pods.change, workload)

    async def _apply(self, decision: Decision, seen: Snapshot) -> None:
        if self.found.policy.mode is not Mode.SHADOW and not decision.learning:
            await self._baseline.keep(self.found, decision, seen)
        await self._means.workloads.write(self.found, decision.replicas, seen.workload)

    async def _hold_updates(self, decision: Decision, rollout: SeenRollout) -> None:
        wanted = decision.rollouts
        if wanted is None or wanted.write is None or rollout.read is None:
            return
        await self._means.rollouts.write(self.found, wanted, rollout.read, decision.at)

    async def _tell(self, decision: Decision, seen: Snapshot) -> None:
        policy = self.found.policy
        told = tuple(changes(self._before, decision))
        moved = self._loan_changes(seen)
        self._remember(decision.at, moved)
        await self._say(decision.at, told)
        refused = refused_loan(decision.rules)
        if refused is not None and not seen.loans and policy.mode is not Mode.SHADOW:
            text = f"{refused.rule}: no, {refused.text}"
            await self._means.events.say(policy_ref(policy), Reason.BORROWING_REFUSED, text)

    async def _say(self, at: Instant, told: tuple[Said, ...]) -> None:
        """Into the history, and as Events; shadow writes nothing but the status."""
        self._remember(at, told)
        if self.found.policy.mode is not Mode.SHADOW:
            for reason, text in told:
                await self._means.events.say(policy_ref(self.found.policy), reason, text)

    def _loan_changes(self, seen: Snapshot) -> tuple[Said, ...]:
        now = {node.name: node.claim for node in seen.loans if node.claim is not None}
        before, self._claims = self._claims, now
        return () if before is None else tuple(loan_changes(before, now, self._means.board.rested))

    def _remember(self, at: Instant, told: tuple[Said, ...]) -> None:
        """Into the history, the newest first, and counted."""
        for reason, _ in told:
            self._means.telemetry.told(self.found.policy, reason)
        new = [HistoryEntry(at=rfc3339(at), reason=reason.value, text=text) for reason, text in reversed(told)]
        self._history = (*new, *self._history)[:MOST_HISTORY]

    async def _write_status(self, seen: Snapshot, decision: Decision, enforcement: Enforcement) -> None:
        marks = marks_of(decision, seen, enforcement)
        now = self._means.clock.elapsed()
        changed = self._written is None or marks != self._written[1]
        if not changed and self._written is not None and now - self._written[0] < WRITE_EVERY:
            return
        if changed:
            self._changed = decision.at
        policy = self.found.policy
        this = Pass(
            policy=policy,
            generation=self.found.generation,
            seen=seen,
            decision=decision,
            enforcement=enforcement,
            now=rfc3339(decision.at),
            waits=dict(self._means.board.waits),
            history=self._history,
        )
        status = policy_status(this, self._status, self._means.epoch, self._changed)
        self._means.telemetry.conditioned(policy, status.conditions)
        path = f"{POLICIES.replace('/imageservicepolicies', '')}/namespaces/{policy.namespace}/imageservicepolicies"
        try:
            await self._means.objects.patch_status(f"{path}/{policy.name}", status_patch(status))
        except (Missing, InvalidInput) as exc:
            log.warning("status not written", extra={"policy": policy.key, "why": str(exc)})
            return
        self._status = status
        self._written = (now, marks)
        await self._say(decision.at, self._troubles.news(status.conditions, decision.at))
