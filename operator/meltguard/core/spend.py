"""What bought nodes cost, by calendar day and month, and whether there is room for more under the caps.

Time is paid ahead: a node is ordered, and kept, only while what it will cost until it can have left is booked under
both caps. So what is spent stays below them by construction, and nobody has to guess how long a surge lasts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from meltguard.core.scaling import CalendarDay
from meltguard.core.units import Instant, Money, Seconds

Calendar = Callable[[Instant], CalendarDay]
"""The days of one time zone: they leave no gap, and each ends after any instant in it."""

HOUR: Final = Seconds(3600.0)
PENNY: Final = 1e-6
"""Sums are written down to this; less is no difference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Most that may be spent at one provider."""

    per_day: Money
    per_month: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What is booked, by day and by month; both go on after midnight for nodes that are paid ahead."""

    by_day: Mapping[str, Money] = field(default_factory=dict)
    by_month: Mapping[str, Money] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fare:
    """One node's time."""

    per_hour: Money
    since: Instant
    until: Instant


def charged(spend: Spend, fare: Fare, calendar: Calendar, sign: float = 1.0) -> Spend:
    """Book a node's time, each part on the day that it is in; `sign` -1 takes it back."""
    days, months = dict(spend.by_day), dict(spend.by_month)
    at = fare.since
    while at < fare.until:
        day = calendar(at)
        end = min(day.ends, fare.until)
        cost = sign * fare.per_hour * (end - at) / HOUR
        days[day.day] = Money(max(0.0, days.get(day.day, 0.0) + cost))
        months[day.month] = Money(max(0.0, months.get(day.month, 0.0) + cost))
        at = end
    return Spend(by_day=days, by_month=months)


def refunded(spend: Spend, fare: Fare, calendar: Calendar) -> Spend:
    """Take back what was booked for time that the node did not stay."""
    return charged(spend, fare, calendar, -1.0)


def affordable(spend: Spend, fare: Fare, calendar: Calendar, caps: Caps) -> Spend | None:
    """The books with this time in them; None where a day or a month of it would end above its cap."""
    after = charged(spend, fare, calendar)
    days = (cost for day, cost in after.by_day.items() if cost > spend.by_day.get(day, 0.0))
    months = (cost for month, cost in after.by_month.items() if cost > spend.by_month.get(month, 0.0))
    fits = all(cost <= caps.per_day + PENNY for cost in days)
    return after if fits and all(cost <= caps.per_month + PENNY for cost in months) else None


def without_past(spend: Spend, today: CalendarDay) -> Spend:
    """Only this day, this month and what comes after them."""
    return Spend(
        by_day={day: cost for day, cost in spend.by_day.items() if day >= today.day},
        by_month={month: cost for month, cost in spend.by_month.items() if month >= today.month},
    )
