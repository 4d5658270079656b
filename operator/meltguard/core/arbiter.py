"""One arbiter over all claims: which policy gets which node, where several want the same.

The next node goes to the priority whose missing GPUs, times that priority, are most; among policies of one priority to
the one that has least for its weight. Who loses a node plans anew without it, in the same pass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from meltguard.core.decision import Borrow, Shortage
from meltguard.core.fleet import NodeView
from meltguard.core.loan_rules import room_of
from meltguard.core.loans import choose_loans
from meltguard.core.policy import Policy
from meltguard.core.pools import PoolView
from meltguard.core.sharing import first
from meltguard.core.units import Gpus, NodeName
from meltguard.core.victims import whole_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What one policy would claim if it were alone."""

    policy: Policy
    plan: tuple[Borrow, ...]
    shortage: Shortage | None = None  # what it was planned from; None: there is no second choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """This policy may claim this node."""

    policy: Policy
    borrow: Borrow


@dataclass(slots=True)
class _Taker:
    """A policy in the arbitration: what it has, and what it would take next."""

    wish: Wish
    plan: tuple[Borrow, ...]
    held: Gpus
    missing: Gpus
    void: bool = False  # the plan asks for what was given to another since

    @property
    def priority(self) -> int:
        capacity = self.wish.policy.capacity
        return capacity.priority if capacity else 1

    @property
    def fill(self) -> float:
        """GPUs on loan for each unit of weight."""
        capacity = self.wish.policy.capacity
        return self.held / (capacity.weight if capacity else 1)

    @property
    def key(self) -> str:
        return f"{self.wish.policy.key} {self.wish.policy.uid}"


def arbitrate(wishes: Iterable[Wish]) -> tuple[Award, ...]:
    """Every claim to make now, in order; the same whatever the order of the wishes. No node is given twice."""
    takers = [_taker(wish) for wish in sorted(wishes, key=_wish_name)]
    awards: list[Award] = []
    while takers := [taker for taker in takers if taker.plan]:
        winner = first(takers)
        if outdated := _outdated(takers, winner):
            for taker in outdated:
                taker.plan, taker.void = _planned_anew(taker, awards), False
            continue
        borrow, winner.plan = winner.plan[0], winner.plan[1:]
        gpus, worth = _gained(winner.wish, borrow.node)
        winner.held, winner.missing = Gpus(winner.held + gpus), whole_gpus(winner.missing - worth)
        awards.append(Award(policy=winner.wish.policy, borrow=borrow))
        for taker in takers:
            taker.void = taker.void or (taker is not winner and _is_void(taker, awards))
    return tuple(awards)


def stands(award: Award, newest: Wish, claimed: Sequence[NodeView]) -> bool:
    """Whether what a service was awarded is still wanted by its newest decision, after those claims for it.

    It wants so many nodes for so many GPUs, and breaks off work or not; claims that it did not know of count for both.
    """
    capacity, short, borrow = newest.policy.capacity, newest.shortage, award.borrow
    if capacity is None or borrow.to != capacity.pool or borrow.home not in capacity.borrow_from:
        return False
    if borrow.victims and not any(other.victims for other in newest.plan):
        return False
    known = {node.name for node in short.seen.loans} if short else set[NodeName]()
    since = [node for node in claimed if node.name not in known]
    covered = short is not None and not whole_gpus(short.missing - sum(short.worth(node) for node in since))
    return len(since) < len(newest.plan) and not covered


def _outdated(takers: Sequence[_Taker], winner: _Taker) -> list[_Taker]:
    """Whose plans must be made anew before the winner takes: a plan looks at every node of every lender.

    Its own; where several priorities compete, those of all, for who finds nothing any more adds no weight to his.
    """
    alike = len({taker.priority for taker in takers}) == 1
    return [taker for taker in takers if taker.void and (taker is winner or not alike)]


def _wish_name(wish: Wish) -> tuple[str, str]:
    return (wish.policy.key, wish.policy.uid)


def _taker(wish: Wish) -> _Taker:
    short = wish.shortage
    held = short.taker.held if short else Gpus(0)
    return _Taker(wish=wish, plan=wish.plan, held=held, missing=short.missing if short else Gpus(len(wish.plan)))


def _gained(wish: Wish, name: NodeName) -> tuple[Gpus, float]:
    """GPUs that the node adds to what is held, and how many of the missing ones it stands for."""
    short = wish.shortage
    if short is None:
        return Gpus(1), 1.0
    members = (node for pool in short.seen.pools.values() for node in pool.members if node.name == name)
    return next(((short.seen.gpus_of(node), short.worth(node)) for node in members), (Gpus(0), 0.0))


def _is_void(taker: _Taker, awards: Sequence[Award]) -> bool:
    """Whether what was given since leaves this plan without a node, or a lender without room for it."""
    if taker.plan and awards[-1].borrow.node in {borrow.node for borrow in taker.plan}:
        return True
    short, given = taker.wish.shortage, [award.borrow for award in awards]
    homes = {borrow.home for borrow in taker.plan}
    return short is not None and any(not _bears(short.seen.pools.get(home), (*given, *taker.plan)) for home in homes)


def _bears(lender: PoolView | None, borrows: Sequence[Borrow]) -> bool:
    """Whether a lender has room for those of these that are its own, and may be emptied of the busy ones together."""
    if lender is None or lender.pool.lending is None:
        return False
    own = [borrow for borrow in borrows if borrow.home == lender.pool.name]
    busy = sum(bool(borrow.victims) for borrow in own)
    at_once = lender.pool.lending.bounds.nodes_at_once - lender.emptying
    return len(own) <= room_of(lender) and busy <= max(0, at_once)


def _planned_anew(taker: _Taker, awards: Sequence[Award]) -> tuple[Borrow, ...]:
    """The next best nodes, with what was given away gone from the lenders."""
    short = taker.wish.shortage
    gone = {award.borrow.node for award in awards}
    if short is None:
        return tuple(borrow for borrow in taker.plan if borrow.node not in gone)
    own = sum(award.policy.uid == taker.wish.policy.uid for award in awards)
    left = replace(
        short,
        missing=taker.missing,
        capacity=replace(short.capacity, max_loans=short.capacity.max_loans - own),
        seen=replace(short.seen, pools={name: _without(pool, awards) for name, pool in short.seen.pools.items()}),
    )
    return choose_loans(left)[0]


def _without(pool: PoolView, awards: Sequence[Award]) -> PoolView:
    """The lender as it is once these nodes are gone: its floor, and what is emptied at a time, still count them."""
    gone = {award.borrow.node for award in awards if award.borrow.home == pool.pool.name}
    lending = pool.pool.lending
    if lending is None or not gone:
        return pool
    emptied = sum(award.borrow.node in gone and bool(award.borrow.victims) for award in awards)
    bounds = replace(lending.bounds, nodes_at_once=max(0, lending.bounds.nodes_at_once - emptied))
    terms = replace(lending, floor=pool.floor, max_loans=max(0, lending.max_loans - len(gone)), bounds=bounds)
    kept = tuple(node for node in pool.members if node.name not in gone)
    return replace(pool, pool=replace(pool.pool, lending=terms), members=kept)
