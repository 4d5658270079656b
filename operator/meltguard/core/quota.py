"""A user's allowance: when its day, week or month begins and ends, and what an account still has. Arithmetic only.

The shared store carries out the same rules in one atomic script; a contract test holds the two together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from meltguard.core.units import Instant, Seconds

UtcOffset = Callable[[Instant], Seconds]
"""How far a zone's wall clock is ahead of UTC at an instant."""

DAY = 86_400
WIDEST_OFFSET = 26 * 3_600  # no zone was ever further than this from UTC
DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)  # each month of a common year
LEAP_DAYS_BEFORE_1970 = 477


class Period(StrEnum):
    """What an allowance is counted over: a calendar period of a zone."""

    DAY = "day"
    WEEK = "week"  # from Monday (ISO 8601)
    MONTH = "month"


class WhenUncounted(StrEnum):
    """What holds while nobody can count: the store is away, or forgot."""

    REFUSE = "Refuse"  # an allowance that cannot be counted is not granted
    ADMIT = "Admit"  # under the tier's rate; what is delivered is counted later, where that can be


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One calendar period of a zone: from its first instant up to, not including, the next one's."""

    start: Instant
    end: Instant

    def holds(self, at: Instant) -> bool:
        """Whether the instant is in this span."""
        return self.start <= at < self.end

    @property
    def length(self) -> Seconds:
        """How long it lasts: a day may have 23 or 25 hours, a month 28 to 31 days."""
        return Seconds(self.end - self.start)


def span_of(at: Instant, offset: UtcOffset, period: Period = Period.DAY) -> Span:
    """The span that an instant is in; spans never overlap and leave no gap, whatever the zone's clock does.

    A day may have 23 or 25 hours, and one that a zone skipped has none.

    >>> span_of(Instant(90_000.0), lambda _: Seconds(0.0))
    Span(start=86400.0, end=172800.0)
    >>> span_of(Instant(90_000.0), lambda _: Seconds(0.0), Period.MONTH).length == 31 * DAY
    True
    """
    number = int((at + offset(at)) // DAY)
    while _midnight(number, offset) > at:
        number -= 1
    while _midnight(number + 1, offset) <= at:
        number += 1
    first, following = _days(number, period)
    return Span(start=_midnight(first, offset), end=_midnight(following, offset))


def _days(number: int, period: Period) -> tuple[int, int]:
    """The first day of the period that a day is in, and the first of the next one (days since 1970, a Thursday)."""
    if period is Period.DAY:
        return number, number + 1
    if period is Period.WEEK:
        monday = number - (number + 3) % 7
        return monday, monday + 7
    month = number // 31
    while _first_of(month + 1) <= number:
        month += 1
    while _first_of(month) > number:
        month -= 1
    return _first_of(month), _first_of(month + 1)


def _first_of(month: int) -> int:
    """The first day of a month (both since January 1970).

    >>> [_first_of(month) for month in (0, 1, 12, 24)]
    [0, 31, 365, 730]
    """
    year, month = 1970 + month // 12, month % 12
    past = year - 1
    leap_days = past // 4 - past // 100 + past // 400 - LEAP_DAYS_BEFORE_1970
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 365 * (year - 1970) + leap_days + DAYS_BEFORE[month] + (is_leap and month > 1)


def _midnight(number: int, offset: UtcOffset) -> Instant:
    """The first second at which the zone's clock shows the given day (days since 1970).

    The search's bounds depend on the day alone, so each day has exactly one beginning, also where the clock passes
    midnight twice.
    """
    target = number * DAY
    before, after = target - WIDEST_OFFSET, target + WIDEST_OFFSET
    while after - before > 1:
        middle = (before + after) // 2
        if middle + offset(Instant(float(middle))) >= target:
            after = middle
        else:
            before = middle
    return Instant(float(after))


class Verdict(StrEnum):
    """What an account answers to a claim."""

    GRANTED = "granted"
    EXHAUSTED = "exhausted"  # the period's allowance does not cover it
    IN_PROGRESS = "in-progress"  # the same request already holds its images
    DELIVERED = "delivered"  # the same request already got its images


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Images set aside for a request that is not finished."""

    images: int
    until: Instant  # a hold that nobody settles by then is forgotten and costs nothing
    attempt: str = ""  # whose it is, of those that repeat one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user's period."""

    spent: int = 0  # images delivered
    holds: Mapping[str, Hold] = field(default_factory=dict)  # by request
    delivered: frozenset[str] = frozenset()  # requests that cost what they cost, once

    @property
    def used(self) -> int:
        """Images delivered or set aside."""
        return self.spent + sum(hold.images for hold in self.holds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request's wish for images out of an allowance."""

    request: str
    images: int
    limit: int  # images a period
    hold_for: Seconds
    attempt: str = ""  # tells repeats of one request apart: what one of them gives back is not another's


@dataclass(frozen=True, slots=True)
class Answered:
    """The account after a claim, and the answer."""

    account: Account
    verdict: Verdict


def claim_images(account: Account, claim: Claim, at: Instant) -> Answered:
    """Set images aside, if the allowance covers them.

    A request that is repeated while it runs, or after its images were delivered, is told so and gets nothing more:
    otherwise one key would buy any number of images.
    """
    account = forget_expired(account, at)
    if claim.request in account.delivered:
        return Answered(account, Verdict.DELIVERED)
    if claim.request in account.holds:
        return Answered(account, Verdict.IN_PROGRESS)
    if account.used + claim.images > claim.limit:
        return Answered(account, Verdict.EXHAUSTED)
    hold = Hold(images=claim.images, until=Instant(at + claim.hold_for), attempt=claim.attempt)
    return Answered(replace(account, holds={**account.holds, claim.request: hold}), Verdict.GRANTED)


def commit(account: Account, request: str, images: int) -> Account:
    """The images were delivered: they are spent, also where their hold had been forgotten. Safe to repeat."""
    if request in account.delivered:
        return account
    return replace(
        account,
        spent=account.spent + images,
        holds=_without(account.holds, request),
        delivered=account.delivered | {request},
    )


def release(account: Account, request: str, attempt: str = "") -> Account:
    """The images were not delivered: they cost nothing. Safe to repeat. Another attempt's hold stays."""
    hold = account.holds.get(request)
    if hold is None or hold.attempt != attempt:
        return account
    return replace(account, holds=_without(account.holds, request))


def forget_expired(account: Account, at: Instant) -> Account:
    """Drop the holds that nobody settled in time."""
    return replace(account, holds={name: hold for name, hold in account.holds.items() if hold.until > at})


def _without(holds: Mapping[str, Hold], request: str) -> Mapping[str, Hold]:
    return {name: hold for name, hold in holds.items() if name != request}
