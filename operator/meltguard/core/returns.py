"""Which loans go home, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.core.fleet import HOMEWARD, Claim, MoveStep, NodeView
from meltguard.core.limits import UTILIZATION
from meltguard.core.move_actions import Intent, Wanted
from meltguard.core.policy import Level, Mode, Policy
from meltguard.core.seen import Memory, Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, Seconds, UnitsPerSecond

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


def intents(ebb: Ebb, spare: Instant | None) -> Mapping[NodeName, Intent]:
    """Where each node claimed by this policy is to go."""
    decided = {node.name: _intent(ebb, node.claim) for node in ebb.seen.loans if node.claim}
    capacity = ebb.policy.capacity
    lent = [n for n in ebb.seen.loans if n.claim and n.claim.step is MoveStep.LENT]
    staying = [node for node in lent if decided[node.name].wanted is Wanted.OUT]
    if capacity and staying and spare is not None and ebb.now - spare >= capacity.return_after:
        calm = f"the service stayed calm for {capacity.return_after:.0f} s and would without this node"
        decided[staying[-1].name] = Intent(wanted=Wanted.HOME, why=calm)  # the youngest loan: one a window
    return decided


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
    breached = ebb.breach_since is not None and ebb.now - ebb.breach_since >= BREACH_TIME
    if breached and len(lender.at_home) < lender.floor and _youngest(lender.lent, claim):
        return f"pool {claim.home} has had {len(lender.at_home)} nodes for a minute, its floor is {lender.floor}"
    return ""


def _youngest(lent: tuple[NodeView, ...], claim: Claim) -> bool:
    """Whether this claim is the lender's latest: one node at a time comes home for the floor."""
    stays = [n.claim for n in lent if n.claim and n.claim.step not in HOMEWARD]
    return bool(stays) and max(stays, key=lambda c: (c.since, c.move_id)) == claim
