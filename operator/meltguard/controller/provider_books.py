"""A provider's books as they stand in its GPUPool's status. What cannot be read is unknown, never empty."""

import math

from meltguard.api.provider_status import BoughtStatus, ProviderStatus, ScaleWriteStatus, SpentStatus
from meltguard.api.quantities import parse_instant
from meltguard.clock import rfc3339
from meltguard.core.providers import available, why_not
from meltguard.core.purchases import COMING, Books, Bought, Counts, Provider, ScaleWrite, Stage
from meltguard.core.spend import Spend
from meltguard.core.units import Instant, Money, NodeName, Seconds
from meltguard.errors import InvalidInput

ROUND_UP = 1e6


def read_books(status: ProviderStatus | None) -> Books:
    """The books; empty where nothing was ever written. Raises InvalidInput where a number or a moment is none."""
    if status is None:
        return Books()
    return Books(
        nodes=tuple(_read_bought(one) for one in status.nodes),
        spend=Spend(
            by_day={one.period: Money(_number(one.amount)) for one in status.days},
            by_month={one.period: Money(_number(one.amount)) for one in status.months},
        ),
        write=None
        if status.write is None
        else ScaleWrite(before=status.write.before, after=status.write.after, ids=frozenset(status.write.ids)),
        arrival=None if status.arrival is None else Seconds(_number(status.arrival)),
        failures=status.failures,
        rest_until=_instant(status.rest_until),
        counts=Counts(ordered=status.ordered, arrived=status.arrived, failed=status.failed),
    )


def _read_bought(one: BoughtStatus) -> Bought:
    return Bought(
        id=one.id,
        policy_uid=one.policy_uid or "",
        stage=one.stage,
        asked_at=parse_instant(one.since),
        paid_until=parse_instant(one.paid_until),
        node=NodeName(one.node) if one.node else None,
        uid=one.node_uid or "",
        idle_since=_instant(one.idle_since),
        expiring=bool(one.expiring),
        why=one.why or "",
    )


def write_books(this: Provider) -> ProviderStatus:
    """The books, and what people want to know of them. Sums are rounded up: nothing is spent that is not counted."""
    books, today = this.books, this.calendar(this.now)
    reason, why = why_not(this)
    return ProviderStatus(
        on_order=sum(one.stage in COMING for one in books.nodes),
        here=sum(one.stage is Stage.HERE for one in books.nodes),
        available=available(this),
        spent_today=f"{books.spend.by_day.get(today.day, 0.0):.2f}",
        spent_this_month=f"{books.spend.by_month.get(today.month, 0.0):.2f}",
        cost_per_node_hour=None if this.price is None else f"{this.price:.2f}",
        arrival=None if books.arrival is None else f"{books.arrival:.1f}",
        reason=reason or None,
        why=why or None,
        failures=books.failures,
        rest_until=None if books.rest_until is None else rfc3339(books.rest_until),
        ordered=books.counts.ordered,
        arrived=books.counts.arrived,
        failed=books.counts.failed,
        days=tuple(_spent(day, amount) for day, amount in sorted(books.spend.by_day.items())),
        months=tuple(_spent(month, amount) for month, amount in sorted(books.spend.by_month.items())),
        nodes=tuple(_bought(one) for one in books.nodes),
        write=None
        if books.write is None
        else ScaleWriteStatus(before=books.write.before, after=books.write.after, ids=tuple(sorted(books.write.ids))),
    )


def _bought(one: Bought) -> BoughtStatus:
    return BoughtStatus(
        id=one.id,
        stage=one.stage,
        policy_uid=one.policy_uid or None,
        since=rfc3339(one.asked_at),
        paid_until=rfc3339(one.paid_until),
        node=one.node,
        node_uid=one.uid or None,
        idle_since=None if one.idle_since is None else rfc3339(one.idle_since),
        expiring=True if one.expiring else None,
        why=one.why or None,
    )


def _spent(period: str, amount: Money) -> SpentStatus:
    return SpentStatus(period=period, amount=f"{math.ceil(amount * ROUND_UP - 1e-3) / ROUND_UP:.6f}")


def _instant(text: str | None) -> Instant | None:
    return None if text is None else parse_instant(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number) and number >= 0:
        return number
    raise InvalidInput(f"status.provider: {text!r} is no sum; correct it with kubectl edit --subresource=status")
