"""A lender's quota at Kueue while its nodes are on loan: what its number must be, and whose number it is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from meltguard.core.fleet import NodeView
from meltguard.core.units import NodeName, PoolName


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaMark:
    """What we did to the number: all that is needed to undo it."""

    taken: int  # GPUs that are out of it: what is lent, but never more than there was
    wrote: int  # the number as we left it
    nodes: Mapping[NodeName, int]  # GPUs of each node on loan, as it showed most


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The number, and our mark beside it."""

    nominal: int
    mark: QuotaMark | None = None

    @property
    def overwritten(self) -> bool:
        """Whether somebody else set the number since we did."""
        return self.mark is not None and self.nominal != self.mark.wrote

    @property
    def noted(self) -> Mapping[NodeName, int]:
        """GPUs of the nodes on loan, as they were counted last."""
        return self.mark.nodes if self.mark is not None else {}


def followed(found: Quota, lent: Mapping[NodeName, int]) -> Quota:
    """The quota as it must be while these GPUs are lent; as it was found where it is to be left alone.

    What is lent is out of the number, and back in it once home; the last one home takes the mark along. A number that
    somebody else set is theirs: nothing is added to it or taken from it.

    >>> away = followed(Quota(nominal=24), {NodeName("gpu-1"): 8})
    >>> away.nominal, followed(away, {})
    (16, Quota(nominal=24, mark=None))
    """
    if found.overwritten:
        return found if lent else Quota(nominal=found.nominal)
    whole = found.nominal + (found.mark.taken if found.mark is not None else 0)
    if not lent:
        return Quota(nominal=whole)
    taken = min(whole, sum(lent.values()))
    return Quota(nominal=whole - taken, mark=QuotaMark(taken=taken, wrote=whole - taken, nodes=dict(lent)))


def on_loan(
    resource: str, homes: Iterable[PoolName], nodes: Iterable[NodeView], noted: Mapping[NodeName, int]
) -> dict[NodeName, int]:
    """GPUs of each node that is claimed from these pools, from the claim until it is off again.

    A node counts for the most that it showed: one that shows none after a reboot is no less lent. One that was counted
    goes on counting while it bears any claim, also one that cannot be read, and whatever became of its pool.
    """
    lenders = frozenset(homes)
    return {
        node.name: max(node.by_kind.get(resource, 0), noted.get(node.name, 0))
        for node in nodes
        if (node.claim is not None and node.claim.home in lenders)
        or (node.name in noted and (node.claim is not None or node.claim_problem))
    }
