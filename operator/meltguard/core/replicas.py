"""How many serving pods the workload is asked for: those it had before the first loan, plus one for each lent GPU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.decision import SetReplicas
from meltguard.core.fleet import LEAVE_TIME, MoveStep, NodeView
from meltguard.core.memory import Memory
from meltguard.core.policy import Mode, Policy, ReplicaWriter
from meltguard.core.pools import lent_to
from meltguard.core.seen import Workload
from meltguard.core.units import Instant, NodeName, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """What to ask for now, and what to remember."""

    change: SetReplicas | None
    found: int | None  # before the first loan
    asked: int | None  # last
    before: int | None  # what was there when that was asked, until the workload has been seen to follow

    def remembered(self, memory: Memory) -> Memory:
        """For the next decision."""
        return replace(memory, replicas_found=self.found, replicas_set=self.asked, replicas_before=self.before)


NOTHING: Final = Replicas(change=None, found=None, asked=None, before=None)
"""The workload has what it is to have without us."""

TIGHTENED_WITHIN: Final = Seconds(10.0)
"""After a recall the node's pods serve on until every ready pod has the tighter limits, at most for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnLoan:
    """The nodes claimed for a service, and what decides how many of its pods belong on them."""

    nodes: Sequence[NodeView]
    asked: frozenset[str] = frozenset()  # resources that the service's pods ask for
    tightened: frozenset[NodeName] = frozenset()  # that every ready pod's limits do without
    now: Instant = Instant(0.0)


def replicas(policy: Policy, memory: Memory, loans: OnLoan, workload: Workload | None) -> Replicas:
    """Found at the first loan, plus the GPUs that are lent. Another writer's number is left alone.

    A write may have failed: what stood there when we asked is no other writer's number, until we have seen ours.
    Once no node is lent, another writer's number is what there is: the next loan counts from it.
    """
    if _is_others(policy):
        return NOTHING
    idle = not loans.nodes and memory.replicas_found is None
    if workload is None or workload.scaled_by or policy.mode is Mode.SHADOW or idle:
        return Replicas(
            change=None, found=memory.replicas_found, asked=memory.replicas_set, before=memory.replicas_before
        )
    now = workload.replicas
    found = memory.replicas_found if memory.replicas_found is not None else now
    least = found + _pods_on(policy, loans, lent_to(policy.uid, loans.nodes))
    most = least + _pods_on(policy, loans, [node for node in loans.nodes if _serves_on(loans, node)])
    wanted = min(most, max(least, now))  # none is added on a node that goes home
    asked = memory.replicas_set if memory.replicas_set is not None else found
    before = memory.replicas_before if memory.replicas_before is not None and now != asked else asked
    ours = now in {asked, before, least, most}
    if not loans.nodes and (now == found or not ours):
        return NOTHING
    if not ours:
        return Replicas(change=None, found=found, asked=asked, before=before)  # ScaleConflict: hands off
    if now == wanted:
        return Replicas(change=None, found=found, asked=wanted, before=wanted)
    return Replicas(change=SetReplicas(replicas=wanted), found=found, asked=wanted, before=now)


def _pods_on(policy: Policy, loans: OnLoan, nodes: Sequence[NodeView]) -> int:
    return sum(node.pods_for(loans.asked, policy.gpus_per_pod) for node in nodes)


def _serves_on(loans: OnLoan, node: NodeView) -> bool:
    """Whether a node was recalled, and not every pod's limits do without it yet."""
    claim = node.claim
    if claim is None or claim.step is not MoveStep.RECALLED or node.name in loans.tightened:
        return False
    return loans.now < claim.step_deadline - LEAVE_TIME + TIGHTENED_WITHIN


def scale_conflict(policy: Policy, memory: Memory, loans: Sequence[NodeView], workload: Workload | None) -> str:
    """Who else sets the workload's replicas while nodes are lent, in words; "" where nobody does."""
    lent = any(node.claim and node.claim.step is MoveStep.LENT for node in loans)
    if workload is None or not lent or _is_others(policy):
        return ""
    if workload.scaled_by:
        return workload.scaled_by
    ours = {memory.replicas_set, memory.replicas_before}
    other = memory.replicas_set is not None and workload.replicas not in ours
    return f"someone, who wants {workload.replicas} where we asked for {memory.replicas_set}" if other else ""


def _is_others(policy: Policy) -> bool:
    return policy.capacity is not None and policy.capacity.replicas is ReplicaWriter.OTHERS
