"""Which provider delivers what is missing, and what its replicas are to be. That caps hold is `spend`'s matter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.purchases import (
    COMING,
    GOING,
    LEAVE_IN,
    Books,
    Bought,
    Provider,
    ScaleWrite,
    Stage,
    is_stale,
    on_order,
    rest_after,
)
from meltguard.core.scaling import Removal
from meltguard.core.spend import HOUR, Fare, Spend, affordable
from meltguard.core.units import Gpus, Instant, PoolName
from meltguard.core.wording import counted

MOST_BOUGHT: Final = 200
"""Nodes of one pool at a time: they are all written in its status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What one policy would have bought."""

    policy: str  # namespace/name
    policy_uid: str
    priority: int
    missing: Gpus  # beyond what serves, arrives, is on order or can be borrowed
    gpus_per_pod: Gpus
    pools: frozenset[PoolName]  # that it may borrow from, and that would lend to it
    most: int  # nodes more that it may have
    on_order: Gpus  # as it knew when it asked


Providers = Mapping[PoolName, Provider]


def effective_price(this: Provider) -> float:
    """Of a GPU for an hour, the time until it arrives paid for nothing; what was never learned is taken as slow.

    A node of 2.00 that comes after half an hour is as dear as one of 3.00 that is there at once.
    """
    wait = this.books.arrival if this.books.arrival is not None else this.scaling.arrive_within
    return (this.pool.cost or 0.0) * (1.0 + wait / HOUR)


Obstacle = tuple[str, str]
"""Why nothing can be ordered, as reason and sentence; two empty texts where this is no reason."""

FREE: Final[Obstacle] = ("", "")


def _scale_is_known(this: Provider) -> Obstacle:
    return FREE if this.scale is not None else ("ScaleUnknown", this.problem)


def _cost_is_known(this: Provider) -> Obstacle:
    text = "spec.provider.costPerGPUHour is not set, so spend would not be known; set it"
    return FREE if this.price is not None else ("CostUnknown", text)


def _it_does_not_refuse(this: Provider) -> Obstacle:
    refusing = this.scale.refusing if this.scale is not None else ""
    return ("NoCapacity", refusing) if refusing else FREE


def _it_has_rested(this: Provider) -> Obstacle:
    until, failures = this.books.rest_until, this.books.failures
    if until is None or this.now >= until:
        return FREE
    times = counted(failures, "time")
    return "NoCapacity", f"{times} in a row nothing came; left alone for {rest_after(failures):.0f} s"


def _there_is_room(this: Provider) -> Obstacle:
    wanted = (this.scale.wanted if this.scale is not None else 0) + _asked(this.books)
    full = wanted >= this.scaling.most or len(this.books.nodes) >= MOST_BOUGHT
    return ("AtMost", f"{counted(wanted, 'node')}, at most {this.scaling.most}") if full else FREE


def _it_is_affordable(this: Provider) -> Obstacle:
    text = "one more node would not fit under the day's or the month's spend cap"
    return FREE if _paid_first(this, this.books.spend) is not None else ("SpendCapReached", text)


ORDER_RULES: Final[tuple[Callable[[Provider], Obstacle], ...]] = (
    _scale_is_known,  # what is not known is not changed
    _cost_is_known,  # unknown spend is no order
    _it_does_not_refuse,  # its own word
    _it_has_rested,  # it did not deliver a moment ago
    _there_is_room,
    _it_is_affordable,
)


def why_not(this: Provider) -> Obstacle:
    """Why nothing can be ordered here now."""
    return next((found for rule in ORDER_RULES if (found := rule(this)) != FREE), FREE)


def available(this: Provider) -> int:
    """Nodes that could be ordered here now."""
    count, probe = 0, this
    while count < MOST_BOUGHT and not why_not(probe)[0]:
        probe = ordered(probe, "")
        count += 1
    return count


def ordered(this: Provider, policy_uid: str) -> Provider:
    """One node more on order, and its first hour in the books; nothing where `why_not` says so."""
    paid = None if why_not(this)[0] else _paid_first(this, this.books.spend)
    if paid is None:
        return this
    spend, until = paid
    number = this.books.counts.ordered + 1
    one = Bought(id=f"o{number}", policy_uid=policy_uid, stage=Stage.ASKED, asked_at=this.now, paid_until=until)
    counts = replace(this.books.counts, ordered=number)
    return replace(this, books=replace(this.books, nodes=(*this.books.nodes, one), spend=spend, counts=counts))


def _paid_first(this: Provider, spend: Spend) -> tuple[Spend, Instant] | None:
    """An hour of use after it came, as far as is known, and time to leave."""
    if this.price is None:
        return None
    wait = this.books.arrival if this.books.arrival is not None else this.scaling.arrive_within
    until = Instant(this.now + wait + HOUR + LEAVE_IN)
    fare = Fare(per_hour=this.price, since=this.now, until=until)
    after = affordable(spend, fare, this.calendar, this.caps)
    return None if after is None else (after, until)


def _asked(books: Books) -> int:
    return sum(one.stage is Stage.ASKED for one in books.nodes)


@dataclass(slots=True)
class _Buyer:
    """A policy in the round: what it still misses."""

    want: Want
    missing: Gpus
    room: int


def orders(wants: Sequence[Want], providers: Providers) -> dict[PoolName, Provider]:
    """Every provider with what is to be ordered there now; the same whatever the order of the wants.

    A pool below its minimum comes first, then the policy whose missing GPUs, times its priority, are most; each next
    node comes from where an hour of a GPU is cheapest, waiting included.
    """
    after = {name: _to_minimum(this) for name, this in sorted(providers.items())}
    known = [want for want in wants if _is_up_to_date(want, providers)]
    buyers = [_Buyer(want=want, missing=want.missing, room=want.most) for want in sorted(known, key=_name)]
    while open_buyers := [one for one in buyers if one.missing > 0 and one.room > 0]:
        buyer = max(open_buyers, key=lambda one: (one.want.priority * one.missing, one.want.policy_uid))
        place = _cheapest(buyer.want, after)
        if place is None:
            buyer.room = 0
            continue
        after[place] = ordered(after[place], buyer.want.policy_uid)
        buyer.missing = Gpus(max(0, buyer.missing - after[place].scaling.gpus_per_node))
        buyer.room -= 1
    return after


def _name(want: Want) -> tuple[str, str]:
    return (want.policy, want.policy_uid)


def _is_up_to_date(want: Want, providers: Providers) -> bool:
    """Whoever does not know of his orders yet would order twice."""
    mine = (on_order(this.books, want.policy_uid, this.scaling.gpus_per_node) for this in providers.values())
    return sum(mine) == want.on_order


def _to_minimum(this: Provider) -> Provider:
    lacking = this.scaling.least - this.scale.wanted - _asked(this.books) if this.scale is not None else 0
    for _ in range(max(0, lacking)):
        this = ordered(this, "")
    return this


def _cheapest(want: Want, providers: Providers) -> PoolName | None:
    fit = [
        (effective_price(this), name)
        for name, this in providers.items()
        if name in want.pools and this.scaling.gpus_per_node >= want.gpus_per_pod and not why_not(this)[0]
    ]
    return min(fit)[1] if fit else None


def next_write(this: Provider) -> ScaleWrite | None:
    """What the provider's replicas are to become, if anything; one change at a time, and never both ways."""
    if this.scale is None or this.books.write is not None:
        return this.books.write
    wanted = this.scale.wanted
    asked = sorted((one for one in this.books.nodes if one.stage is Stage.ASKED), key=_number)
    if asked:
        after = min(this.scaling.most, wanted + len(asked))
        return _write(wanted, after, asked[: max(0, after - wanted)])
    leaving = _removable(this)
    least = max(_staying(this), min(wanted, 0 if any(one.expiring for one in leaving) else this.scaling.least))
    after = max(least, wanted - len(leaving))
    return _write(wanted, after, leaving[: max(0, wanted - after)])


def _write(before: int, after: int, nodes: Sequence[Bought]) -> ScaleWrite | None:
    if not nodes:
        return None
    return ScaleWrite(before=before, after=after, ids=frozenset(one.id for one in nodes))


def _number(one: Bought) -> int:
    return int(one.id[1:])


def _removable(this: Provider) -> list[Bought]:
    """Of those that leave, whom the provider may be asked to take back: nobody else's node can be meant."""
    leaving = [one for one in this.books.nodes if one.stage is Stage.LEAVING]
    ready = [one for one in leaving if not one.uid or one.id in this.verified]
    if this.scaling.removal is Removal.ANY:
        going = {one.uid for one in ready} | {one.uid for one in this.books.nodes if one.stage is Stage.REMOVING}
        if any(node.uid not in going for node in this.members):
            return []
    return sorted(ready, key=lambda one: (not one.expiring, _number(one)))


def _staying(this: Provider) -> int:
    """Replicas that must remain: every member that is not going, and every order that is still coming."""
    going = {one.uid for one in this.books.nodes if one.stage in GOING and one.uid}
    coming = sum(one.stage in COMING and not one.uid for one in this.books.nodes)
    return sum(node.uid not in going for node in this.members) + coming


def settled(books: Books) -> Books:
    """The write is done: what it asked for is ordered, what it took back is on its way out."""
    write = books.write
    if write is None:
        return books
    onward = {Stage.ASKED: Stage.ORDERED, Stage.LEAVING: Stage.REMOVING}
    nodes = tuple(
        replace(one, stage=onward.get(one.stage, one.stage)) if one.id in write.ids else one for one in books.nodes
    )
    return replace(books, nodes=nodes, write=None)


def overtaken(this: Provider) -> Books:
    """Whether a write that was begun is done, or void, by what the provider's object wants now."""
    books, write, scale = this.books, this.books.write, this.scale
    if write is None or scale is None:
        return books
    grown = write.after > write.before
    if scale.wanted == write.before:
        stale = grown and any(one.id in write.ids and is_stale(this, one) for one in books.nodes)
        return replace(books, write=None) if stale else books
    done = scale.wanted >= write.after if grown else scale.wanted <= write.after
    return settled(books) if done else replace(books, write=None)
