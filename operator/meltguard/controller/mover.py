"""Carries claims forward: one loop over all claimed nodes, whoever they are for, and the only writer of nodes."""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import Protocol

from meltguard.controller.asked import CustomResources
from meltguard.controller.board import Board
from meltguard.controller.claimer import Claimer, Claims, pledged_before
from meltguard.controller.events import EventLog, Reason, node_ref, policy_ref
from meltguard.controller.leavers import Leavers
from meltguard.controller.lost_claims import Known, LostClaims
from meltguard.controller.telemetry import Telemetry
from meltguard.core.arbiter import Award, arbitrate, stands
from meltguard.core.draining import untold
from meltguard.core.fleet import HOMEWARD, Claim, MoveStep, NodeView
from meltguard.core.loan_words import borrowed_words, home_words, lent_words, recalled_words
from meltguard.core.move_actions import Enter, Evict, Intent, MoveAction, Notify, Release, Scene, Wait, Wanted, Withdraw
from meltguard.core.moves import next_action, put_back
from meltguard.core.node_shape import is_home
from meltguard.core.policy import Policy
from meltguard.core.units import Epoch, NodeName, PodUid
from meltguard.errors import Conflict, Fenced, MeltguardError, Unavailable
from meltguard.ports import Clock, Fleet, NodeMoves, PodWrites

log = logging.getLogger(__name__)

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
LEAVES_FIRST = "-1000"
"""ReplicaSets remove pods of the lowest cost first: those on a node that goes home."""


class Books(Protocol):
    """Where ended loans are written down."""

    async def close(self, node: NodeView, claim: Claim) -> None:
        """Write a loan down, once, however often this is called. Raises Conflict or Unavailable: try again."""
        ...


@dataclass(slots=True)
class Mover:
    """One pass looks at every claimed node once and takes at most one step with each."""

    resources: CustomResources
    fleet: Fleet
    moves: NodeMoves
    claimer: Claimer
    leavers: Leavers
    books: Books
    lost: LostClaims
    pods: PodWrites
    events: EventLog
    telemetry: Telemetry
    clock: Clock
    epoch: Epoch
    board: Board = field(default_factory=Board)
    marked: set[PodUid] = field(default_factory=set)  # pods that were told to leave first

    async def run_once(self) -> int:
        """Take what is due; how many nodes are under a claim. Conflicts are read anew at the next pass.

        Raises:
            Fenced: another leader is at work.
            ExceptionGroup: bugs, each met at one node; all the others had their turn.
        """
        nodes = self.fleet.view().nodes
        for name, known in tuple(self.lost.look(nodes)):
            await self._put_back(name, known)
        claimed = [node for node in nodes if node.claim is not None]
        bugs = [bug for node in claimed if (bug := await self._turn(node)) is not None]
        await self._borrow()
        if bugs:
            raise ExceptionGroup("some nodes could not be looked at", bugs)
        return len(claimed)

    async def _put_back(self, name: NodeName, known: Known) -> None:
        """Somebody took a claim off, and the node is still as the move left it: once it is put back, never twice."""
        claim = known.claim
        try:
            node = await self.fleet.fresh(name)
            if node is None or node.uid != known.uid or node.claim is not None or node.claim_problem:
                return
            if is_home(node, claim):  # brought by somebody else, or by us, and the answer was lost
                await self._book(node, claim)
                self.lost.forget(name)
                await self._tell_home(node, claim)
                return
            if claim.move_id in self.lost.restored:
                self.lost.forget(name)
                await self._blocked(node, f"its claim was taken off twice; bring it home to {claim.home} by hand")
                return
            await self.moves.enter(node, put_back(node, claim, self.clock.now()), self.epoch)
        except (Conflict, Unavailable) as exc:
            log.info("claim not put back", extra={"node": name, "why": str(exc)})
            return
        self.lost.restored.add(claim.move_id)
        text = f"{name}: its claim was taken off, and is put back: it is how the node knows its way home"
        await self.events.say(node_ref(name), Reason.CLAIM_RESTORED, text)

    async def _turn(self, node: NodeView) -> Exception | None:
        """One node's turn: what is wrong with it must not keep another from coming home."""
        try:
            await self._advance(node)
        except Fenced:
            raise
        except (Conflict, Unavailable) as exc:
            log.info("node step not taken", extra={"node": node.name, "why": str(exc)})
        except MeltguardError as exc:
            await self._blocked(node, str(exc))
        except Exception as exc:  # noqa: BLE001 - kept, and raised once every node had its turn
            return exc
        return None

    async def _blocked(self, node: NodeView, why: str) -> None:
        """Only a person can mend it, such as a node that lost its label in the middle of its move."""
        self.board.waits[node.name] = why
        log.warning("node step refused", extra={"node": node.name, "why": why})
        await self.events.say(node_ref(node.name), Reason.MOVE_BLOCKED, f"{node.name} cannot go on: {why}")

    async def _advance(self, seen: NodeView) -> None:
        if seen.claim is None:
            return
        intent = self._intent(seen.name, seen.claim)
        mirrored = next_action(seen, seen.claim, intent, Scene(now=self.clock.now()))
        if isinstance(mirrored, Wait) and seen.claim.step is MoveStep.LENT:
            return
        node = await self.fleet.fresh(seen.name)
        if node is None or node.claim is None:
            return  # gone, or home already: the mirror learns it soon
        if node.uid != seen.uid:
            return  # another node of the same name: not ours
        scene = await self._scene(node, node.claim)
        await self._carry_out(node, node.claim, next_action(node, node.claim, intent, scene))

    async def _scene(self, node: NodeView, claim: Claim) -> Scene:
        """What guards the node's pods is read only where pods are about to be told."""
        strangers = untold(node, claim) if claim.drain is not None and claim.step not in HOMEWARD else ()
        if not strangers or claim.step is MoveStep.LENT:
            return Scene(now=self.clock.now())
        read = await self.fleet.guards(frozenset(pod.namespace for pod in strangers))
        others = [other for other in self.fleet.view().nodes if other.name != node.name]
        return Scene(now=self.clock.now(), guards=replace(read, pledged=pledged_before(claim, others)))

    def _intent(self, name: NodeName, claim: Claim) -> Intent:
        found = self.resources.policies().get(claim.policy_uid)
        if found is not None and found.deleting:
            return Intent(wanted=Wanted.HOME, why="its policy is being deleted")
        decided = self.board.intents.get(claim.policy_uid)
        if decided is not None:
            return decided.get(name, Intent(wanted=Wanted.OUT, why=""))
        if self.resources.policy_exists(claim.policy_uid):
            return Intent(wanted=Wanted.OUT, why="")  # not decided yet: nothing new, and its due time still holds
        return Intent(wanted=Wanted.ABANDONED, why="its policy is gone")

    async def _carry_out(self, node: NodeView, claim: Claim, action: MoveAction) -> None:
        self.board.waits.pop(node.name, None)
        match action:
            case Enter(claim=entered):
                if entered.step is MoveStep.RECALLED:
                    await self._mark_leaving(node)
                await self.moves.enter(node, entered, self.epoch)
                await self._entered(node, entered)
            case Release(claim=ended):
                await self._release(node, ended)
            case Notify() | Withdraw() | Evict():
                await self._speak(node, claim, action)
            case Wait(why=why):
                self.board.waits[node.name] = why
                log.debug("node waits", extra={"node": node.name, "why": why})

    async def _speak(self, node: NodeView, claim: Claim, action: Notify | Withdraw | Evict) -> None:
        match action:
            case Notify():
                await self.leavers.tell(action, claim)
            case Withdraw():
                await self.leavers.untell(action)
            case Evict(pods=pods):
                blocked = await self.leavers.evict(pods)
                if blocked:
                    self.board.waits[node.name] = blocked
                    await self.events.say(node_ref(node.name), Reason.DRAIN_BLOCKED, f"{node.name}: {blocked}")

    async def _release(self, node: NodeView, claim: Claim) -> None:
        """Booked first: the write's answer may be lost, and a node that is home is free at once."""
        await self._book(node, claim)
        await self.moves.release(node, claim, self.epoch)
        self.lost.released(claim)
        await self._tell_home(node, claim)

    async def _book(self, node: NodeView, claim: Claim) -> None:
        """The loan's end and the node's rest: a loan written down twice counts once, a lost one never comes back."""
        await self.books.close(node, claim)
        self.board.came_home(node.name, claim.policy_uid, self.clock.now())

    async def _tell_home(self, node: NodeView, claim: Claim) -> None:
        self.telemetry.steps.labels(step="Released").inc()
        await self.events.say(node_ref(node.name), Reason.NODE_RETURNED, home_words(node.name, claim.home))

    async def _mark_leaving(self, node: NodeView) -> None:
        """Before the replicas fall, the pods on this node are marked as the first to go."""
        for pod in node.movable_pods:
            if pod.uid not in self.marked and not pod.terminating:
                await self.pods.annotate_pod(pod, {DELETION_COST: LEAVES_FIRST})
                self.marked.add(pod.uid)

    async def _entered(self, node: NodeView, claim: Claim) -> None:
        self.lost.known[node.name] = Known(uid=node.uid, claim=claim)
        self.telemetry.steps.labels(step=claim.step.value).inc()
        log.info("node step", extra={"node": node.name, "step": claim.step.value, "policy": claim.policy})
        words = {
            MoveStep.NOTIFIED: (Reason.DRAIN_BEGUN, _drain_begun(node, claim)),
            MoveStep.LENT: (Reason.NODE_LENT, lent_words(node.name, claim)),
            MoveStep.RECALLED: (Reason.NODE_RECALLED, recalled_words(node.name, claim)),
            MoveStep.HOME: (Reason.MOVE_UNDONE, f"the move of {node.name} is undone: {claim.why}"),
        }
        if claim.step in words and not (claim.step is MoveStep.HOME and claim.lent_at is not None):
            await self.events.say(node_ref(node.name), *words[claim.step])

    async def _borrow(self) -> None:
        """Arbitrate, and claim. Both take seconds where the fleet is large, and services go on deciding meanwhile."""
        claims = Claims()
        for award in await asyncio.to_thread(arbitrate, self.board.take()):
            try:
                await self._claim(award, claims)
            except (Conflict, Unavailable) as exc:
                claims.doubt()
                log.info("node not claimed", extra={"node": award.borrow.node, "why": str(exc)})
        for node in claims.taken:
            if node.claim is not None:
                self.board.claimed(node.claim.policy_uid)

    async def _claim(self, award: Award, claims: Claims) -> None:
        """Claim the node if it fits and is wanted still: a service goes on deciding while nodes are read."""
        policy, borrow = self._wants(award, claims), award.borrow
        if policy is None:
            return
        ready = await self.claimer.prepare(policy, borrow, claims)
        if isinstance(ready, str):
            log.info("node not claimed", extra={"node": borrow.node, "why": ready})
            text = f"{borrow.node} of {borrow.home} is not borrowed: {ready}"
            await self.events.say(policy_ref(policy), Reason.BORROWING_REFUSED, text)
            return
        if self._wants(award, claims) != policy:
            return  # prepared for what is void by now
        await self.moves.enter(ready.node, ready.claim, self.epoch)
        claims.taken.append(replace(ready.node, claim=ready.claim))
        await self._entered(ready.node, ready.claim)
        await self.events.say(policy_ref(policy), Reason.NODE_BORROWED, borrowed_words(ready.node.name, ready.claim))

    def _wants(self, award: Award, claims: Claims) -> Policy | None:
        """The policy of the newest decision, if that wants what was awarded; None: calm, content, paused or gone.

        Or it was decided before the node came home: then that has to rest.
        """
        newest = self.board.lacking.get(award.policy.uid)
        if newest is None or self.board.rests(award.borrow.node, self.clock.now()):
            return None
        if not stands(award, newest, claims.made_for(award.policy.uid)):
            return None
        return newest.policy


def _drain_begun(node: NodeView, claim: Claim) -> str:
    pods = ", ".join(f"{pod.namespace}/{pod.name}" for pod in node.movable_pods[:5])
    notice = claim.drain.eviction.notice if claim.drain else 0.0
    return f"the pods of {node.name} are told to save their work, {notice:.0f} s before their eviction: {pods}"
