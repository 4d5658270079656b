"""A lender's books: what was lent, to whom, for how long, and what it cost in work."""

import math
from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.fleet import Claim, NodeView
from meltguard.core.pools import PoolView
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Gpus, Instant, NodeName, Seconds

KEPT: Final = 16
"""Loans that are remembered one by one; the sums go on for ever."""

FRESH: Final = Seconds(600.0)
MOST_KEPT: Final = 128
"""Those that ended lately are remembered too, up to so many: their claims may still have to come off, and whoever takes
them off asks again whether they are written down."""

HOUR: Final = 3600.0

HALF_LIFE: Final = Seconds(86_400.0)
"""What was lent a day ago weighs half of what is lent now, where several lenders take turns."""

NOTHING: Final = GpuHours(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastLoan:
    """A loan that has ended, or a move that was undone."""

    move_id: str
    node: NodeName
    policy: str
    since: Instant
    until: Instant
    gpu_hours: GpuHours  # that the borrower had; 0 where the node never opened for it
    work_lost: GpuHours  # unsaved work of what was evicted
    why: str  # it ended
    stopped: tuple[Stopped, ...] = ()  # whose work it broke off, the most first


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Everything that a pool ever lent."""

    loans: int = 0  # that opened for a borrower
    gpu_hours: GpuHours = NOTHING
    work_lost: GpuHours = NOTHING
    recent: tuple[PastLoan, ...] = ()  # youngest last
    lately: GpuHours = NOTHING  # lent, faded to what it weighed when the last loan ended


def ended(node: NodeView, claim: Claim, now: Instant) -> PastLoan:
    """What is written down when a node comes home."""
    opened = now if claim.lent_at is None else claim.lent_at
    evicted = claim.drain is not None and claim.drain.began is not None
    return PastLoan(
        move_id=claim.move_id,
        node=node.name,
        policy=claim.policy,
        since=claim.since,
        until=now,
        gpu_hours=GpuHours(node.gpus * max(0.0, now - opened) / HOUR),
        work_lost=claim.drain.work_lost if evicted and claim.drain else NOTHING,
        why=claim.why,
        stopped=claim.stopped,
    )


def closed(books: Books, loan: PastLoan, *, opened: bool) -> Books:
    """The books with this loan in them, exactly once: a move that is written down already changes nothing."""
    if any(past.move_id == loan.move_id for past in books.recent):
        return books
    return replace(
        books,
        loans=books.loans + opened,
        gpu_hours=GpuHours(books.gpu_hours + loan.gpu_hours),
        work_lost=GpuHours(books.work_lost + loan.work_lost),
        recent=_remembered((*books.recent, loan), loan.until),
        lately=GpuHours(lent_lately(books, loan.until) + loan.gpu_hours),
    )


def lent_lately(books: Books, now: Instant) -> GpuHours:
    """GPU-hours lent, half of them forgotten each HALF_LIFE since the last loan ended."""
    ages = [max(0.0, now - loan.until) for loan in books.recent]
    return GpuHours(books.lately * 0.5 ** (min(ages, default=0.0) / HALF_LIFE))


def gpus_of(lender: PoolView) -> Gpus:
    """All that are the lender's, at home or away; at least 1."""
    return Gpus(max(1, sum(node.gpus for node in lender.members)))


def burden(lender: PoolView, lately: GpuHours, now: Instant) -> float:
    """Hours that each of the lender's GPUs was lent lately; a loan that goes on counts for an hour at least."""
    out = (node.gpus * max(HOUR, now - node.claim.since) / HOUR for node in lender.lent if node.claim)
    return (lately + math.fsum(out)) / gpus_of(lender)


def _remembered(loans: tuple[PastLoan, ...], now: Instant) -> tuple[PastLoan, ...]:
    fresh = sum(now - loan.until < FRESH for loan in loans)
    return loans[-min(MOST_KEPT, max(KEPT, fresh)) :]
