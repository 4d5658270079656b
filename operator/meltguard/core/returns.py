"""Which loans go home, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.core.fleet import HOMEWARD, Claim, MoveStep, NodeView, PodView
from meltguard.core.limits import UTILIZATION
from meltguard.core.move_actions import Intent, Wanted
from meltguard.core.policy import Level, Mode, Policy
from meltguard.core.pools import PoolView
from meltguard.core.seen import Memory, Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Seconds, UnitsPerSecond

SHADOW_SHARE: Final = 0.8
"""A node may go if the offered demand would take at most this share of the smaller pool's budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ebb:
    """What returns are decided on."""

    policy: Policy
    seen: Snapshot
    memory: Memory
    level: Level
    limited: bool  # some tier is limited
    demand: UnitsPerSecond | None  # None: the agents do not answer
    per_gpu: UnitsPerSecond | None
    gpus: Gpus  # that serve
    now: Instant
    breach_since: Instant | None  # a lender stands below its floor since then


BREACH_TIME: Final = Seconds(60.0)
"""A node that is NotReady for a moment recalls nothing; a floor broken for this long does."""


def breach_since(seen: Snapshot, memory: Memory, now: Instant) -> Instant | None:
    """Since when a pool that lent to this policy has fewer nodes at home than its floor."""
    homes = {node.claim.home for node in seen.loans if node.claim}
    lenders = [seen.pools[home] for home in homes if home in seen.pools]
    if not any(len(lender.at_home) < lender.floor for lender in lenders):
        return None
    return memory.breach_since if memory.breach_since is not None else now


def stays_calm_without(ebb: Ebb, gpus: Gpus) -> bool:
    """The shadow check: with these GPUs gone and nothing limited, the service would still be calm."""
    if ebb.demand is None or not ebb.per_gpu or ebb.limited or ebb.level is not Level.NORMAL:
        return False
    return ebb.demand <= SHADOW_SHARE * UTILIZATION * ebb.per_gpu * max(0, ebb.gpus - gpus)


def spare_since(ebb: Ebb) -> Instant | None:
    """Since when one loan could have gone; None while none could."""
    lent = [node for node in ebb.seen.loans if node.claim and node.claim.step is MoveStep.LENT]
    leaving = any(n.claim and n.claim.step in HOMEWARD for n in ebb.seen.loans)
    if not lent or leaving or not stays_calm_without(ebb, max(node.gpus for node in lent)):
        return None
    return ebb.memory.spare_since if ebb.memory.spare_since is not None else ebb.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """Where each node claimed by this policy is to go, and who asked for the way home."""

    intents: Mapping[NodeName, Intent]
    recalling: frozenset[PoolName]  # lenders that call a node back now, against the borrower's need
    calm: NodeName | None  # the node that goes because the service does without it


def returns(ebb: Ebb, spare: Instant | None) -> Returns:
    """Decide it for all of them; `spare` is since when one could have gone."""
    decided = {node.name: _intent(ebb, node.claim) for node in ebb.seen.loans if node.claim}
    out = [node.claim for node in ebb.seen.loans if node.claim and node.claim.step not in HOMEWARD]
    calm = _leaves_calmly(ebb, spare, decided)
    if calm is not None and ebb.policy.capacity is not None:
        lasted = f"{ebb.policy.capacity.return_after:.0f} s"
        why = f"the service stayed calm for {lasted} and would without this node"
        decided[calm] = Intent(wanted=Wanted.HOME, why=why)
    return Returns(
        intents=decided,
        recalling=frozenset(claim.home for claim in out if _why_lender_wants_it(ebb, claim)),
        calm=calm,
    )


def _leaves_calmly(ebb: Ebb, spare: Instant | None, decided: Mapping[NodeName, Intent]) -> NodeName | None:
    """One a window: of the dearest pool, the youngest loan."""
    capacity = ebb.policy.capacity
    lent = [n for n in ebb.seen.loans if n.claim and n.claim.step is MoveStep.LENT]
    staying = [node for node in lent if decided[node.name].wanted is Wanted.OUT]
    if capacity is None or not staying or spare is None or ebb.now - spare < capacity.return_after:
        return None
    return max(staying, key=lambda node: _cost(ebb.seen, node)).name


def _cost(seen: Snapshot, node: NodeView) -> tuple[float, float]:
    """What a GPU of its home costs for an hour (what is not said costs nothing), then how young the loan is."""
    home = seen.pools.get(node.claim.home) if node.claim else None
    cost = home.pool.cost if home is not None and home.pool.cost is not None else 0.0
    return cost, node.claim.since if node.claim else 0.0


def _intent(ebb: Ebb, claim: Claim) -> Intent:
    why = _why_home(ebb, claim)
    return Intent(wanted=Wanted.HOME, why=why) if why else Intent(wanted=Wanted.OUT, why="")


def _why_home(ebb: Ebb, claim: Claim) -> str:
    capacity = ebb.policy.capacity
    if ebb.policy.mode is Mode.SHADOW:
        return "the policy's mode is Shadow: it holds no node"
    if capacity is None or claim.to != capacity.pool or claim.home not in capacity.borrow_from:
        return f"the policy no longer borrows from pool {claim.home} for pool {claim.to}"
    if claim.to not in ebb.seen.pools:
        return f"there is no GPUPool {claim.to} any more"
    if ebb.policy.mode is Mode.PAUSED and claim.step in {MoveStep.CLAIMED, MoveStep.CORDONED}:
        return "the policy is paused: moves that touched nothing yet are undone"
    return _why_lender_recalls(ebb, claim)


def _why_lender_recalls(ebb: Ebb, claim: Claim) -> str:
    lender = ebb.seen.pools.get(claim.home)
    if lender is None or lender.pool.lending is None:
        return f"pool {claim.home} no longer lends"
    lending = lender.pool.lending
    if not lending.borrower_labels.items() <= ebb.seen.namespace_labels.items():
        return f"pool {claim.home} no longer lends to namespace {ebb.policy.namespace}"
    if ebb.now > claim.due:
        return "its promised return has come"
    return _why_lender_wants_it(ebb, claim)


def _why_lender_wants_it(ebb: Ebb, claim: Claim) -> str:
    """The lender's need, by rank: a person's word, its floor, work of its own that outranks the borrower."""
    lender = ebb.seen.pools.get(claim.home)
    if lender is None:
        return ""
    return _ordered(ebb, claim) or _floor_broken(ebb, lender, claim) or _outranked(ebb, lender, claim)


def _ordered(ebb: Ebb, claim: Claim) -> str:
    order = ebb.seen.recalls.get(claim.home)
    if order is None or claim.since > order.before:
        return ""
    names = {node.name for node in ebb.seen.loans if node.claim == claim}
    return order.reason if not order.nodes or names & order.nodes else ""


def _floor_broken(ebb: Ebb, lender: PoolView, claim: Claim) -> str:
    breached = ebb.breach_since is not None and ebb.now - ebb.breach_since >= BREACH_TIME
    if breached and len(lender.at_home) < lender.floor and _youngest(lender.lent, claim):
        return f"pool {claim.home} has had {len(lender.at_home)} nodes for a minute, its floor is {lender.floor}"
    return ""


def _outranked(ebb: Ebb, lender: PoolView, claim: Claim) -> str:
    """Work that waits for the lender's nodes calls one back only if its priority is above the borrower's.

    So work that this loan displaced does not: it was evicted because its priority is not above.
    """
    waiting = [pod for pod in ebb.seen.pending if pod.priority > ebb.seen.priority and _wants(pod, lender)]
    if not waiting or not _youngest(lender.lent, claim) or _coming_home(lender):
        return ""
    pod = max(waiting, key=lambda one: (one.priority, one.namespace, one.name))
    return (
        f"pod {pod.namespace}/{pod.name} of priority {pod.priority} waits for a node of pool {claim.home}, "
        f"the borrower's priority is {ebb.seen.priority}"
    )


def _wants(pod: PodView, lender: PoolView) -> bool:
    """Whether it asks for one of the pool's labels by name."""
    asked = pod.node_selector.items()
    return bool(asked & lender.pool.labels.items())


def _coming_home(lender: PoolView) -> bool:
    """One node at a time: the one on its way may be all that is waited for."""
    return any(node.claim and node.claim.step in HOMEWARD for node in lender.lent)


def _youngest(lent: tuple[NodeView, ...], claim: Claim) -> bool:
    """Whether this claim is the lender's latest: one node at a time comes home for the floor."""
    stays = [n.claim for n in lent if n.claim and n.claim.step not in HOMEWARD]
    return bool(stays) and max(stays, key=lambda c: (c.since, c.move_id)) == claim
