"""Nodes that were ordered at a provider: from the order to the day they are gone, and what is paid for them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from meltguard.core.fleet import NodeView
from meltguard.core.policy import Pool
from meltguard.core.scaling import Scaling
from meltguard.core.spend import HOUR, Calendar, Caps, Fare, Spend, affordable, charged, refunded, without_past
from meltguard.core.units import Gpus, Instant, Money, NodeName, Seconds

LEAVE_IN: Final = Seconds(900.0)
"""A node whose next hour is not paid when this much is left must go: its pods need time to finish."""

FIRST_REST: Final = Seconds(60.0)
LONGEST_REST: Final = Seconds(3600.0)
"""A provider that did not deliver is left alone for the first, twice as long after each further failure."""

LEARNING: Final = 0.3
"""Weight of the newest arrival in the learned time."""


class Stage(StrEnum):
    """How far a bought node is."""

    ASKED = "Asked"  # written down, and paid for; the provider does not know yet
    ORDERED = "Ordered"  # the provider was told; no Ready node yet
    HERE = "Here"  # a Ready member of its pool
    LEAVING = "Leaving"  # it is cordoned and marked, or never came; the provider does not know yet
    REMOVING = "Removing"  # the provider was told to take it back


COMING: Final = frozenset({Stage.ASKED, Stage.ORDERED})
GOING: Final = frozenset({Stage.LEAVING, Stage.REMOVING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """One node of ours at a provider."""

    id: str
    policy_uid: str  # that it was ordered for; "" for the pool's own minimum
    stage: Stage
    asked_at: Instant
    paid_until: Instant
    node: NodeName | None = None  # until one is seen
    uid: str = ""
    idle_since: Instant | None = None  # nobody has used it since then
    expiring: bool = False  # its next hour does not fit under the caps
    why: str = ""  # it leaves


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleWrite:
    """A change of the provider's replicas: written down before it is made."""

    before: int
    after: int
    ids: frozenset[str]  # of the nodes that it is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of orders, ever."""

    ordered: int = 0
    arrived: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All that one provider's pool must not forget."""

    nodes: tuple[Bought, ...] = ()
    spend: Spend = field(default_factory=Spend)
    write: ScaleWrite | None = None
    arrival: Seconds | None = None  # learned: from the order until the node is Ready
    failures: int = 0  # in a row
    rest_until: Instant | None = None
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the provider's object says."""

    wanted: int  # replicas
    present: int
    refusing: str = ""  # its own words for having no capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One pool at a provider, now."""

    pool: Pool
    scaling: Scaling
    books: Books
    members: tuple[NodeView, ...]
    uids: frozenset[str]  # of every node that there is
    scale: Scale | None  # None: not known
    now: Instant
    calendar: Calendar
    problem: str = ""  # why the scale is not known
    verified: frozenset[str] = frozenset()  # bought nodes that a fresh reading found empty, cordoned and marked

    @property
    def price(self) -> Money | None:
        """What a node costs for an hour; None where the pool does not say what a GPU costs."""
        cost = self.pool.cost
        return None if cost is None else Money(cost * self.scaling.gpus_per_node)

    @property
    def caps(self) -> Caps:
        """What may be spent."""
        return Caps(per_day=self.scaling.per_day, per_month=self.scaling.per_month)


def on_order(books: Books, policy_uid: str, gpus_per_node: Gpus) -> Gpus:
    """GPUs that are coming for a policy."""
    mine = sum(one.policy_uid == policy_uid and one.stage in COMING for one in books.nodes)
    return Gpus(mine * gpus_per_node)


def advanced(this: Provider) -> Provider:
    """What time and the provider did since the last look: arrivals, failures, what is idle, the next hours' pay."""
    books = this.books
    steps = (_attributed, _vanished, _arrived, _failed, _paid, _idle, _closed)
    for step in steps:
        books = step(replace(this, books=books))
    return replace(this, books=replace(books, spend=without_past(books.spend, this.calendar(this.now))))


def _with(books: Books, nodes: Mapping[str, Bought]) -> Books:
    return replace(books, nodes=tuple(nodes.get(one.id, one) for one in books.nodes))


def _attributed(this: Provider) -> Books:
    """A member that came after an order is that order's; the oldest node is the oldest order's."""
    known = {one.uid for one in this.books.nodes if one.uid}
    fresh = sorted((n for n in this.members if n.uid not in known), key=lambda node: (node.created, node.name))
    found: dict[str, Bought] = {}
    for one in sorted(this.books.nodes, key=lambda one: (one.asked_at, one.id)):
        if one.uid or one.stage is Stage.ASKED:
            continue
        node = next((n for n in fresh if n.created >= math.floor(one.asked_at)), None)
        if node is not None:
            fresh.remove(node)
            found[one.id] = replace(one, node=node.name, uid=node.uid)
    return _with(this.books, found)


def _vanished(this: Provider) -> Books:
    """A node that went by itself is replaced by its provider, which still owes it: it is on order again."""
    gone = [one for one in this.books.nodes if one.uid and one.uid not in this.uids]
    return _with(
        this.books,
        {
            one.id: replace(
                one,
                node=None,
                uid="",
                asked_at=this.now if one.stage is Stage.HERE else one.asked_at,
                stage=Stage.ORDERED if one.stage is Stage.HERE else one.stage,
                idle_since=None,
            )
            for one in gone
            if one.stage is not Stage.REMOVING
        },
    )


def _arrived(this: Provider) -> Books:
    ready = {node.uid for node in this.members if node.ready and node.gpus > 0}
    come = [one for one in this.books.nodes if one.stage is Stage.ORDERED and one.uid in ready]
    if not come:
        return this.books
    arrival = this.books.arrival
    for one in come:
        took = max(0.0, this.now - one.asked_at)
        arrival = Seconds(took if arrival is None else arrival + LEARNING * (took - arrival))
    counts = replace(this.books.counts, arrived=this.books.counts.arrived + len(come))
    after = _with(this.books, {one.id: replace(one, stage=Stage.HERE, idle_since=this.now) for one in come})
    return replace(after, arrival=arrival, failures=0, rest_until=None, counts=counts)


def _failed(this: Provider) -> Books:
    """No capacity at this provider: the order is taken back, and the provider rests."""
    refusing = this.scale.refusing if this.scale is not None else ""
    late = [one for one in this.books.nodes if one.stage is Stage.ORDERED and _is_late(this, one, refusing)]
    if not late:
        return this.books
    text = refusing or f"no Ready node within {this.scaling.arrive_within:.0f} s"
    after = _with(this.books, {one.id: replace(one, stage=Stage.LEAVING, why=text) for one in late})
    failures = this.books.failures + 1
    counts = replace(this.books.counts, failed=this.books.counts.failed + len(late))
    return replace(after, failures=failures, rest_until=Instant(this.now + rest_after(failures)), counts=counts)


def rest_after(failures: int) -> Seconds:
    """How long a provider is left alone after so many failures in a row.

    >>> [rest_after(count) for count in (1, 2, 3, 50)]
    [60.0, 120.0, 240.0, 3600.0]
    """
    return Seconds(min(LONGEST_REST, FIRST_REST * 2.0 ** min(failures - 1, 10)))


def _is_late(this: Provider, one: Bought, refusing: str) -> bool:
    return is_stale(this, one) or bool(refusing and not one.uid)


def _paid(this: Provider) -> Books:
    """Pay each node's next hour in time, if it fits under the caps; what ran on unpaid is charged as it is."""
    if this.price is None:
        return this.books
    spend, after = this.books.spend, dict[str, Bought]()
    for one in sorted(this.books.nodes, key=lambda one: (one.paid_until, one.id)):
        until = one.paid_until
        if until < this.now:  # nobody could keep it from running: the truth, even above the caps
            spend = charged(spend, Fare(per_hour=this.price, since=until, until=this.now), this.calendar)
            until = this.now
        short = until - this.now < LEAVE_IN
        if short:
            fare = Fare(per_hour=this.price, since=until, until=Instant(until + HOUR))
            more = affordable(spend, fare, this.calendar, this.caps)
            spend, until, short = (spend, until, True) if more is None else (more, fare.until, False)
        after[one.id] = replace(one, paid_until=until, expiring=short)
    return replace(_with(this.books, after), spend=spend)


def _idle(this: Provider) -> Books:
    """Who leaves: what nobody uses, and what is not paid; never below the pool's minimum, but for the caps."""
    nodes = {node.uid: node for node in this.members}
    after: dict[str, Bought] = {}
    spare = this.scale.wanted - this.scaling.least if this.scale is not None else 0
    spare -= sum(one.stage is Stage.LEAVING for one in this.books.nodes)
    for one in this.books.nodes:
        changed = _used(one, nodes.get(one.uid), this.now)
        why = _why_leave(this, changed, spare)
        if why:
            spare -= 1
            changed = replace(changed, stage=Stage.LEAVING, why=why)
        after[one.id] = changed
    return _with(this.books, after)


def _used(one: Bought, node: NodeView | None, now: Instant) -> Bought:
    if one.stage is not Stage.HERE or node is None:
        return one
    if node.claim is not None or node.movable_pods:
        return replace(one, idle_since=None)
    return one if one.idle_since is not None else replace(one, idle_since=now)


def _why_leave(this: Provider, one: Bought, spare: int) -> str:
    if one.expiring and (one.stage is Stage.ORDERED or (one.stage is Stage.HERE and one.idle_since is not None)):
        return "its next hour does not fit under the spend caps"
    if one.stage is not Stage.HERE or one.idle_since is None or spare <= 0:
        return ""
    idle = this.now - one.idle_since
    return f"nobody needed it for {idle:.0f} s" if idle >= this.scaling.idle_after else ""


def _closed(this: Provider) -> Books:
    """What is gone costs nothing any more: what was paid beyond this moment comes back."""
    gone = [one for one in this.books.nodes if _is_gone(this, one)]
    if not gone or this.price is None:
        return this.books
    spend = this.books.spend
    for one in gone:
        spend = refunded(spend, Fare(per_hour=this.price, since=this.now, until=one.paid_until), this.calendar)
    ids = {one.id for one in gone}
    return replace(this.books, spend=spend, nodes=tuple(one for one in this.books.nodes if one.id not in ids))


def is_stale(this: Provider, one: Bought) -> bool:
    """It was written down so long ago that nobody can still mean it."""
    return this.now - one.asked_at > this.scaling.arrive_within


def _is_gone(this: Provider, one: Bought) -> bool:
    if one.stage is Stage.ASKED:
        return this.books.write is None and is_stale(this, one)
    if one.stage is not Stage.REMOVING:
        return False
    if one.uid:
        return one.uid not in this.uids
    return this.scale is not None and this.scale.present <= this.scale.wanted


def reopened(books: Books, ids: Sequence[str]) -> Books:
    """These are in use after all: they stay, and what was written down of taking them back is void."""
    back = {one.id: replace(one, stage=Stage.HERE, idle_since=None, why="") for one in books.nodes if one.id in ids}
    void = books.write is not None and not books.write.ids.isdisjoint(back)
    return replace(_with(books, back), write=None if void else books.write)
