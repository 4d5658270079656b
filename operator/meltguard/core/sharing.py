"""Several services that want nodes of one lender: whose the next one is, and who gives one up for another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeVar

from meltguard.core.policy import Capacity
from meltguard.core.units import Gpus, Instant, PoolName, Seconds

WAITS: Final = Seconds(60.0)
"""Whoever finds no node for this long is given one by who has more than its share."""

BETWEEN: Final = Seconds(120.0)
"""Between two nodes that one service gives up: the first has to come home, to rest and to be taken."""

FRESH: Final = Seconds(30.0)
"""What a service said longer ago is not its word any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A service that wants nodes, and what it has."""

    key: str  # namespace/name
    priority: int
    weight: int
    held: Gpus  # on loan
    missing: Gpus
    lenders: frozenset[PoolName] = frozenset()  # that it would borrow from now, were there room
    finds_none: Mapping[PoolName, Instant] = field(default_factory=dict)  # of those, where it looks, and since when
    at: Instant = Instant(0.0)  # it said so

    @property
    def fill(self) -> float:
        """GPUs on loan for each unit of weight."""
        return self.held / self.weight

    def with_more(self, gpus: int) -> "Peer":
        """The same service with so many GPUs more, or fewer."""
        return replace(self, held=Gpus(max(0, self.held + gpus)), missing=Gpus(max(0, self.missing - gpus)))


class Wanting(Protocol):
    """What the order of takers is decided on."""

    @property
    def key(self) -> str:
        """Of the service."""
        ...

    @property
    def priority(self) -> int:
        """Of the policy."""
        ...

    @property
    def fill(self) -> float:
        """GPUs on loan for each unit of weight."""
        ...

    @property
    def missing(self) -> Gpus:
        """GPUs that it wants still."""
        ...


AnyTaker = TypeVar("AnyTaker", bound=Wanting)


def first(takers: Sequence[AnyTaker]) -> AnyTaker:
    """Whose the next node is: of the priority whose missing GPUs times it are most, who has least for its weight."""
    unmet: dict[int, int] = {}
    for taker in takers:
        unmet[taker.priority] = unmet.get(taker.priority, 0) + taker.missing
    top = max(unmet, key=lambda priority: (priority * unmet[priority], priority))
    return min((taker for taker in takers if taker.priority == top), key=lambda taker: (taker.fill, taker.key))


def a_peer(key: str, capacity: Capacity, held: int, missing: Gpus) -> Peer:
    """A service that wants nodes, before it has looked for any."""
    return Peer(key=key, priority=capacity.priority, weight=capacity.weight, held=Gpus(held), missing=missing)


def my_room(me: Peer, peers: Iterable[Peer], lender: PoolName, room: tuple[int, Gpus]) -> int:
    """How many nodes are mine of `room`: so many nodes of so many GPUs each, as the others want some of them too."""
    nodes, gpus = room
    rivals = [peer for peer in peers if lender in peer.lenders]
    if not rivals:
        return nodes
    mine, wanting = 0, [me, *rivals]
    for _ in range(nodes):
        left = [taker for taker in wanting if taker.missing > 0]
        if not left:
            break
        winner = first(left)
        mine += winner is me
        more = winner.with_more(gpus)
        wanting = [more if taker is winner else taker for taker in wanting]
        me = more if winner is me else me
    return mine


def gives_way_to(me: Peer, peers: Iterable[Peer], home: PoolName, context: tuple[Gpus, Instant]) -> Peer | None:
    """Who waits for a node of this lender and should rather have mine; `context` is (its GPUs, now).

    Asked as though the node were free: who gets it would, asked in turn, keep it, so no node goes back and forth.
    """
    gpus, now = context
    without = me.with_more(-gpus)
    winner = first([without, *(peer for peer in peers if home in peer.lenders and peer.missing > 0)])
    waits = winner is not without and now - winner.finds_none.get(home, now) >= WAITS
    if not waits or (winner.priority == me.priority and winner.fill >= without.fill):
        return None
    return winner
