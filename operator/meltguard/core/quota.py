"""A user's daily allowance: when the day begins and ends, and what an account still has. Arithmetic only.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One calendar day of a zone: from its first instant up to, not including, the next day's."""

    start: Instant
    end: Instant

    def holds(self, at: Instant) -> bool:
        """Whether the instant is in this day."""
        return self.start <= at < self.end


def day_of(at: Instant, offset: UtcOffset) -> Day:
    """The day that an instant is in; days never overlap and leave no gap, whatever the zone's clock does.

    A day may have 23 or 25 hours, and one that a zone skipped has none.

    >>> day_of(Instant(90_000.0), lambda _: Seconds(0.0))
    Day(start=86400.0, end=172800.0)
    """
    number = int((at + offset(at)) // DAY)
    while _midnight(number, offset) > at:
        number -= 1
    while _midnight(number + 1, offset) <= at:
        number += 1
    return Day(start=_midnight(number, offset), end=_midnight(number + 1, offset))


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
    EXHAUSTED = "exhausted"  # the day's allowance does not cover it
    IN_PROGRESS = "in-progress"  # the same request already holds its images
    DELIVERED = "delivered"  # the same request already got its images


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Images set aside for a request that is not finished."""

    images: int
    until: Instant  # a hold that nobody settles by then is forgotten and costs nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One user's day."""

    spent: int = 0  # images delivered
    holds: Mapping[str, Hold] = field(default_factory=dict)  # by request
    delivered: frozenset[str] = frozenset()  # requests that cost what they cost, once

    @property
    def used(self) -> int:
        """Images delivered or set aside."""
        return self.spent + sum(hold.images for hold in self.holds.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A request's wish for images out of a day's allowance."""

    request: str
    images: int
    limit: int  # images a day
    hold_for: Seconds


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
    hold = Hold(images=claim.images, until=Instant(at + claim.hold_for))
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


def release(account: Account, request: str) -> Account:
    """The images were not delivered: they cost nothing. Safe to repeat."""
    return replace(account, holds=_without(account.holds, request))


def forget_expired(account: Account, at: Instant) -> Account:
    """Drop the holds that nobody settled in time."""
    return replace(account, holds={name: hold for name, hold in account.holds.items() if hold.until > at})


def _without(holds: Mapping[str, Hold], request: str) -> Mapping[str, Hold]:
    return {name: hold for name, hold in holds.items() if name != request}
