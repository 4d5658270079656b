"""Claims a node for a loan, if all that was decided from the mirror still holds of the node as read anew."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from meltguard.api.windows import lending_hours
from meltguard.controller.asked import CustomResources
from meltguard.controller.lost_claims import LostClaims
from meltguard.core.decision import Borrow
from meltguard.core.fleet import Claim, Drain, NodeView, PodView
from meltguard.core.moves import new_claim
from meltguard.core.node_rules import unfit
from meltguard.core.pledged import pledged_pods
from meltguard.core.policy import Lending, Policy, Pool
from meltguard.core.pools import PoolView, assign, loans_of
from meltguard.core.preflight import obstacles
from meltguard.core.units import Instant, Seconds
from meltguard.core.wording import counted
from meltguard.ports import Census, Clock, Fleet

log = logging.getLogger(__name__)

READ_LATELY: Final = Seconds(2.0)
"""How old the reading of all nodes may be that the claims of one pass share. Who else claims nodes is fenced off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A node that may be claimed, and the claim."""

    node: NodeView
    claim: Claim


@dataclass(slots=True)
class Claims:
    """The claims of one pass, and every node as it was read for them: of a large fleet that is megabytes."""

    taken: list[NodeView] = field(default_factory=list)  # claimed in this pass; the mirror may not show it yet
    _read: tuple[NodeView, ...] = ()
    _read_at: Seconds | None = None

    def made_for(self, policy_uid: str) -> list[NodeView]:
        """Those of them that are a policy's."""
        return [node for node in self.taken if node.claim is not None and node.claim.policy_uid == policy_uid]

    def doubt(self) -> None:
        """A claim was sent and nobody knows whether it was written: what was read says nothing any more."""
        self._read_at = None

    async def every_node(self, census: Census, clock: Clock) -> list[NodeView]:
        """All nodes without their pods, read at most READ_LATELY ago, with what was claimed since.

        Raises:
            Unavailable: the API server did not answer.
        """
        now = clock.elapsed()
        if self._read_at is None or now - self._read_at > READ_LATELY:
            self._read, self._read_at = await census.members({}), now
        claimed = {node.name: node for node in self.taken}
        return [claimed.get(node.name, node) for node in self._read]


@dataclass(slots=True)
class Claimer:
    """Prepares claims. Every answer is either a claim to write or a sentence that says why there is none."""

    resources: CustomResources
    fleet: Fleet
    census: Census
    clock: Clock
    lost: LostClaims

    async def prepare(self, policy: Policy, borrow: Borrow, claims: Claims) -> Ready | str:
        """The claim, or why not; `claims` are those of this pass.

        Raises:
            Unavailable: the API server did not answer.
        """
        node = await self.fleet.fresh(borrow.node)
        pools = {one.pool.name: one.pool for one in self.resources.pools() if not one.deleting}
        if node is None or not {borrow.home, borrow.to} <= pools.keys():
            return "the node or one of the pools is gone"
        home, to = pools[borrow.home], pools[borrow.to]
        now, taken = self.clock.now(), claims.taken
        every, others = list(pools.values()), self.lost.counted(self._others(node, taken))
        if why := _unwilling(node, home, every, (others, now)):
            return why
        # The mirror may be behind, so that bounds and floor are never left to it; and a lent node bears its borrower's
        # labels: the lender's labels alone would not find every loan.
        read = await claims.every_node(self.census, self.clock)
        others = self.lost.counted([other for other in read if other.name != node.name])
        if why := _spent(policy, others) or _unwilling(node, home, every, (others, now)):
            return why
        lending = home.lending
        if lending is None:
            return f"pool {home.name} does not lend"
        lender = assign(list(pools.values()), [*others, node])[home.name]
        if why := await self._occupied(node, lender, taken, now):
            return why
        drain = _drain(lending, borrow, now)
        at = (now, Instant(now + lending.max_duration))
        claim = new_claim(node, (policy.key, policy.uid), (home, to), at, drain)
        return Ready(node=node, claim=replace(claim, cause=borrow.cause))

    async def _occupied(self, node: NodeView, lender: PoolView, taken: Sequence[NodeView], now: Instant) -> str:
        """Why the node's pods cannot all go; nothing is claimed that cannot be emptied."""
        if not node.movable_pods:
            return ""
        lending = lender.pool.lending
        if lending is None or lending.eviction is None:
            return f"it is in use by {counted(len(node.movable_pods), 'pod')}, and its pool lends idle nodes only"
        if lender.emptying >= lending.bounds.nodes_at_once:
            emptying = counted(lender.emptying, "node")
            return f"pool {lender.pool.name} has {emptying} being emptied, and more would be too many"
        read = await self.fleet.guards(frozenset(pod.namespace for pod in node.movable_pods))
        guards = replace(read, pledged=pledged_pods(self._others(node, taken)))
        found = obstacles(node, lending.eviction, guards, now)
        return "; ".join(f"{one.pod}: {one.text}" for one in found[:3])

    def _others(self, node: NodeView, taken: Sequence[NodeView]) -> list[NodeView]:
        """Every other node, those just claimed as they are now."""
        fresh = {other.name: other for other in taken}
        return [fresh.get(other.name, other) for other in self.fleet.view().nodes if other.name != node.name]


def _spent(policy: Policy, others: Sequence[NodeView]) -> str:
    """Why the policy's own bound forbids it."""
    if policy.capacity is not None and len(loans_of(policy.uid, others)) >= policy.capacity.max_loans:
        return f"{policy.key} has all {policy.capacity.max_loans} loans out"
    return ""


def _unwilling(node: NodeView, home: Pool, pools: list[Pool], at: tuple[Sequence[NodeView], Instant]) -> str:
    """Why the lender does not give this node now; `at` is (every other node, now)."""
    others, now = at
    lender = assign(pools, [*others, node])[home.name]
    if why := unfit(node):
        return f"it {why}"
    if node.uid not in {member.uid for member in lender.members}:
        return f"it is no longer a node of pool {home.name}"
    if len(lender.at_home) - 1 < lender.floor:
        return f"it is needed for the floor of pool {home.name}"
    if home.lending is not None and len(lender.lent) >= home.lending.max_loans:
        return f"pool {home.name} has all {home.lending.max_loans} loans out"
    hours = lending_hours(home.lending.windows if home.lending else (), now)
    return "" if hours.open else f"pool {home.name}: {hours.why}"


def _earlier(one: Claim, other: Claim) -> bool:
    return (one.since, one.move_id) < (other.since, other.move_id)


def pledged_before(claim: Claim, nodes: Sequence[NodeView]) -> tuple[PodView, ...]:
    """What earlier moves will evict: of two that a budget cannot bear together, the later one gives way."""
    return pledged_pods(node for node in nodes if node.claim is not None and _earlier(node.claim, claim))


def _drain(lending: Lending, borrow: Borrow, now: Instant) -> Drain | None:
    if lending.eviction is None:
        return None
    return Drain(
        eviction=lending.eviction,
        deadline=Instant(now + lending.eviction.deadline),
        work_lost=borrow.work_lost,
        victims=borrow.victims[:32],
        stopped=borrow.stops,
    )
