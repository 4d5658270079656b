"""Carries claims forward: one loop over all claimed nodes, whoever they are for, and the only writer of nodes."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.controller.events import EventLog, Reason, node_ref, policy_ref
from meltguard.controller.resources import Resources
from meltguard.controller.telemetry import Telemetry
from meltguard.core.decision import Borrow
from meltguard.core.fleet import Claim, MoveStep, NodeView
from meltguard.core.loan_rules import unfit
from meltguard.core.moves import Enter, Evict, Intent, MoveAction, Release, Wait, Wanted, new_claim, next_action
from meltguard.core.policy import Policy, Pool
from meltguard.core.pools import assign
from meltguard.core.units import Epoch, Instant, NodeName, PodUid
from meltguard.errors import Conflict, Unavailable
from meltguard.ports import Clock, Fleet, NodeMoves

log = logging.getLogger(__name__)

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
LEAVES_FIRST = "-1000"
"""ReplicaSets remove pods of the lowest cost first: those on a node that goes home."""


@dataclass(slots=True)
class Board:
    """What the services' decisions ask of nodes; the mover reads it."""

    intents: dict[str, Mapping[NodeName, Intent]] = field(default_factory=dict)  # by policy uid
    wanted: dict[str, tuple[Policy, tuple[Borrow, ...]]] = field(default_factory=dict)
    rested: dict[str, Instant] = field(default_factory=dict)  # node name to when it came home

    def came_home(self, node: NodeName, policy_uid: str, at: Instant) -> None:
        """What was wanted of the node is done: it must not be asked of its next loan."""
        self.rested[node] = at
        left = {name: intent for name, intent in self.intents.get(policy_uid, {}).items() if name != node}
        self.intents[policy_uid] = left

    def forget(self, policy_uid: str) -> None:
        """The policy is gone: its nodes go home by that."""
        self.intents.pop(policy_uid, None)
        self.wanted.pop(policy_uid, None)


@dataclass(slots=True)
class Mover:
    """One pass looks at every claimed node once and takes at most one step with each."""

    resources: Resources
    fleet: Fleet
    moves: NodeMoves
    objects: KubernetesObjects
    events: EventLog
    telemetry: Telemetry
    clock: Clock
    epoch: Epoch
    board: Board = field(default_factory=Board)
    marked: set[PodUid] = field(default_factory=set)  # pods that were told to leave first

    async def run_once(self) -> int:
        """Take what is due; how many nodes are under a claim. Conflicts are read anew at the next pass."""
        claimed = [node for node in self.fleet.view().nodes if node.claim is not None]
        for node in claimed:
            try:
                await self._advance(node)
            except (Conflict, Unavailable) as exc:
                log.info("node step not taken", extra={"node": node.name, "why": str(exc)})
        await self._borrow()
        return len(claimed)

    async def _advance(self, seen: NodeView) -> None:
        if seen.claim is None:
            return
        now = self.clock.now()
        intent = self._intent(seen.name, seen.claim)
        resting = isinstance(next_action(seen, seen.claim, intent, now), Wait) and seen.claim.step is MoveStep.LENT
        if resting:
            return
        node = await self.fleet.fresh(seen.name)
        if node is None or node.claim is None:
            return  # gone, or home already: the mirror learns it soon
        if node.uid != seen.uid:
            return  # another node of the same name: not ours
        await self._carry_out(node, next_action(node, node.claim, intent, now))

    def _intent(self, name: NodeName, claim: Claim) -> Intent:
        found = self.resources.policies().get(claim.policy_uid)
        if found is not None and found.deleting:
            return Intent(wanted=Wanted.HOME, why="its policy is being deleted")
        decided = self.board.intents.get(claim.policy_uid)
        if decided is not None:
            return decided.get(name, Intent(wanted=Wanted.OUT, why=""))
        if self.resources.policy_exists(claim.policy_uid):
            return Intent(wanted=Wanted.OUT, why="")  # not decided yet: nothing new, and its due time still holds
        return Intent(wanted=Wanted.HOME, why="its policy is gone")

    async def _carry_out(self, node: NodeView, action: MoveAction) -> None:
        match action:
            case Enter(claim=claim):
                if claim.step is MoveStep.RECALLED:
                    await self._mark_leaving(node)
                await self.moves.enter(node, claim, self.epoch)
                await self._entered(node, claim)
            case Release(claim=claim):
                await self.moves.release(node, claim, self.epoch)
                self.board.came_home(node.name, claim.policy_uid, self.clock.now())
                self.telemetry.steps.labels(step="Released").inc()
                await self.events.say(node_ref(node.name), Reason.NODE_RETURNED, f"{node.name} is home in {claim.home}")
            case Evict(pods=pods):
                for pod in pods:
                    await self.objects.evict(pod)
                    self.telemetry.evictions.inc()
            case Wait(why=why):
                log.debug("node waits", extra={"node": node.name, "why": why})

    async def _mark_leaving(self, node: NodeView) -> None:
        """Before the replicas fall, the pods on this node are marked as the first to go."""
        for pod in node.movable_pods:
            if pod.uid not in self.marked and not pod.terminating:
                await self.objects.annotate_pod(pod, {DELETION_COST: LEAVES_FIRST})
                self.marked.add(pod.uid)

    async def _entered(self, node: NodeView, claim: Claim) -> None:
        self.telemetry.steps.labels(step=claim.step.value).inc()
        log.info("node step", extra={"node": node.name, "step": claim.step.value, "policy": claim.policy})
        words = {
            MoveStep.LENT: (Reason.NODE_LENT, f"{node.name} is lent by {claim.home} to {claim.to} for {claim.policy}"),
            MoveStep.RECALLED: (Reason.NODE_RECALLED, f"{node.name} goes home to {claim.home}: {claim.why}"),
        }
        if claim.step in words:
            await self.events.say(node_ref(node.name), *words[claim.step])

    async def _borrow(self) -> None:
        for uid in list(self.board.wanted):
            policy, borrows = self.board.wanted.pop(uid)
            for borrow in borrows:
                try:
                    await self._claim(policy, borrow)
                except (Conflict, Unavailable) as exc:
                    log.info("node not claimed", extra={"node": borrow.node, "why": str(exc)})

    async def _claim(self, policy: Policy, borrow: Borrow) -> None:
        """Claim a node if, read anew, it still fits and its lender still keeps its floor."""
        node = await self.fleet.fresh(borrow.node)
        pools = self._pools()
        if node is None or not {borrow.home, borrow.to} <= pools.keys():
            return
        others = [other for other in self.fleet.view().nodes if other.name != node.name]
        lender = assign(list(pools.values()), [*others, node])[pools[borrow.home].name]
        why = unfit(node)
        if node.uid not in {member.uid for member in lender.members}:
            why = f"is no longer a node of pool {borrow.home}"
        if not why and len(lender.at_home) - 1 < lender.floor:
            why = f"is needed for the floor of pool {borrow.home}"
        lending = pools[borrow.home].lending
        if why or lending is None:
            log.info("node not claimed", extra={"node": node.name, "why": why or "its pool does not lend"})
            return
        now = self.clock.now()
        at = (now, Instant(now + lending.max_duration))
        claim = new_claim(node, (policy.key, policy.uid), (pools[borrow.home], pools[borrow.to]), at)
        await self.moves.enter(node, claim, self.epoch)
        await self._entered(node, claim)
        text = f"{node.name} is borrowed from {borrow.home} for {policy.key}"
        await self.events.say(policy_ref(policy), Reason.NODE_BORROWED, text)

    def _pools(self) -> dict[str, Pool]:
        return {one.pool.name: one.pool for one in self.resources.pools() if not one.deleting}
