"""A lender's books as they stand in its GPUPool's status."""

import math
from collections.abc import Iterable, Mapping

from meltguard.api.pool_status import LedgerStatus, PastLoanStatus, PoolStatus
from meltguard.api.quantities import parse_instant
from meltguard.api.stopped import StoppedWork
from meltguard.api.to_core import PoolObject
from meltguard.clock import rfc3339
from meltguard.core.ledger import Books, PastLoan, lent_lately
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Instant, NodeName, PoolName
from meltguard.errors import InvalidInput


def read_books(status: PoolStatus) -> Books:
    """The books in a status; empty where there are none. Raises InvalidInput where a number is none."""
    read = status.ledger
    if read is None:
        return Books()
    return Books(
        loans=read.loans,
        gpu_hours=_hours(read.gpu_hours_lent),
        work_lost=_hours(read.work_lost),
        lately=_hours(read.gpu_hours_lately or "0"),
        recent=tuple(
            PastLoan(
                move_id=one.move,
                node=NodeName(one.node),
                policy=one.policy,
                since=parse_instant(one.since),
                until=parse_instant(one.until),
                gpu_hours=_hours(one.gpu_hours),
                work_lost=_hours(one.work_lost),
                why=one.why,
                stopped=tuple(_read_stopped(work) for work in one.stopped),
            )
            for one in read.recent
        ),
    )


def lately_home(pools: Iterable[PoolObject]) -> Mapping[str, Instant]:
    """By node, when it last came home, as these lenders' books say: a loan is booked before its claim comes off."""
    rested: dict[str, Instant] = {}
    for pool in pools:
        for one in pool.status.ledger.recent if pool.status.ledger else ():
            rested[one.node] = max(parse_instant(one.until), rested.get(one.node, parse_instant(one.until)))
    return rested


def lent_by(pools: Iterable[PoolObject], now: Instant) -> Mapping[PoolName, GpuHours]:
    """What each lender lent lately; without end where its books cannot be read, so that it is asked last."""
    return {one.pool.name: _lately(one.status, now) for one in pools}


def _lately(status: PoolStatus, now: Instant) -> GpuHours:
    try:
        return lent_lately(read_books(status), now)
    except InvalidInput:
        return GpuHours(math.inf)


def write_books(books: Books) -> LedgerStatus:
    """The books as they stand in a status: hours to a thousandth."""
    return LedgerStatus(
        loans=books.loans,
        gpu_hours_lent=f"{books.gpu_hours:.3f}",
        work_lost=f"{books.work_lost:.3f}",
        gpu_hours_lately=f"{books.lately:.3f}",
        recent=tuple(
            PastLoanStatus(
                move=one.move_id,
                node=one.node,
                policy=one.policy,
                since=rfc3339(one.since),
                until=rfc3339(one.until),
                gpu_hours=f"{one.gpu_hours:.3f}",
                work_lost=f"{one.work_lost:.3f}",
                why=one.why,
                stopped=write_stopped(one.stopped),
            )
            for one in books.recent
        ),
    )


def write_stopped(stopped: Iterable[Stopped]) -> tuple[StoppedWork, ...]:
    """Hours to a hundredth, times to the second."""
    return tuple(
        StoppedWork(
            work=one.work,
            hours_lost=f"{one.hours:.2f}",
            saved_before=None if one.saved is None else rfc3339(one.saved),
        )
        for one in stopped
    )


def _read_stopped(one: StoppedWork) -> Stopped:
    saved = None if one.saved_before is None else parse_instant(one.saved_before)
    return Stopped(work=one.work, hours=_hours(one.hours_lost), saved=saved)


def _hours(text: str) -> GpuHours:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if math.isfinite(hours):
        return GpuHours(hours)
    raise InvalidInput(f"status.ledger: {text!r} is no number of GPU-hours; remove it with kubectl edit")
