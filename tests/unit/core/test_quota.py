from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.calendar import zone_offset
from meltguard.core.quota import (
    Account,
    Claim,
    Period,
    Span,
    Verdict,
    claim_images,
    commit,
    forget_expired,
    release,
    span_of,
)
from meltguard.core.units import Instant, Seconds

ZONES = ["UTC", "Europe/Zurich", "Asia/Kathmandu", "Pacific/Apia", "America/St_Johns", "Asia/Beirut"]
instants = st.floats(min_value=0, max_value=4e9).map(lambda value: Instant(float(int(value))))


def at(text: str) -> Instant:
    return Instant(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def in_zone(instant: Instant, zone: str, period: Period = Period.DAY) -> Span:
    offset = zone_offset(zone)
    assert offset is not None
    return span_of(instant, offset, period)


DAYS = {
    "UTC": ("2026-11-23T12:00", "UTC", "2026-11-23T00:00", "2026-11-24T00:00"),
    "the last second": ("2026-11-23T23:59:59", "UTC", "2026-11-23T00:00", "2026-11-24T00:00"),
    "the first instant": ("2026-11-24T00:00", "UTC", "2026-11-24T00:00", "2026-11-25T00:00"),
    "east of UTC": ("2026-11-23T23:30", "Europe/Zurich", "2026-11-23T23:00", "2026-11-24T23:00"),
    "23 hours in spring": ("2026-03-29T12:00", "Europe/Zurich", "2026-03-28T23:00", "2026-03-29T22:00"),
    "25 hours in autumn": ("2026-10-25T12:00", "Europe/Zurich", "2026-10-24T22:00", "2026-10-25T23:00"),
    "no midnight in spring": ("2026-03-29T12:00", "Asia/Beirut", "2026-03-28T22:00", "2026-03-29T21:00"),
    "a day was skipped": ("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T10:00", "2011-12-31T10:00"),
}


@pytest.mark.parametrize(("instant", "zone", "start", "end"), DAYS.values(), ids=DAYS)
def test_a_day_is_the_zones_calendar_day(instant: str, zone: str, start: str, end: str) -> None:
    assert in_zone(at(instant), zone) == Span(start=at(start), end=at(end))


WEEKS_AND_MONTHS = {
    "a Monday's first instant": ("2026-11-23T00:00", "UTC", "week", "2026-11-23T00:00", "2026-11-30T00:00"),
    "a Sunday's last second": ("2026-11-22T23:59:59", "UTC", "week", "2026-11-16T00:00", "2026-11-23T00:00"),
    "a week over the year's end": ("2027-01-01T12:00", "UTC", "week", "2026-12-28T00:00", "2027-01-04T00:00"),
    "a week of 167 hours": ("2026-03-28T12:00", "Europe/Zurich", "week", "2026-03-22T23:00", "2026-03-29T22:00"),
    "a week of six days": ("2011-12-28T12:00", "Pacific/Apia", "week", "2011-12-26T10:00", "2012-01-01T10:00"),
    "a week before 1970": ("1969-12-31T12:00", "UTC", "week", "1969-12-29T00:00", "1970-01-05T00:00"),
    "a leap February": ("2028-02-29T23:59", "UTC", "month", "2028-02-01T00:00", "2028-03-01T00:00"),
    "December": ("2026-12-31T23:30", "UTC", "month", "2026-12-01T00:00", "2027-01-01T00:00"),
    "a month with a change of the clock": (
        "2026-10-15T12:00",
        "Europe/Zurich",
        "month",
        "2026-09-30T22:00",
        "2026-10-31T23:00",
    ),
}


@pytest.mark.parametrize(("instant", "zone", "period", "start", "end"), WEEKS_AND_MONTHS.values(), ids=WEEKS_AND_MONTHS)
def test_weeks_begin_on_monday_and_months_on_their_first(
    instant: str, zone: str, period: str, start: str, end: str
) -> None:
    assert in_zone(at(instant), zone, Period(period)) == Span(start=at(start), end=at(end))


LONGEST = {Period.DAY: 1, Period.WEEK: 7, Period.MONTH: 31}


@settings(deadline=None)
@given(instant=instants, zone=st.sampled_from(ZONES), period=st.sampled_from(Period))
def test_days_hold_their_instants_and_follow_each_other_without_gap(
    instant: Instant, zone: str, period: Period
) -> None:
    day = in_zone(instant, zone, period)
    assert day.holds(instant)
    assert 0 < day.length <= timedelta(days=LONGEST[period], hours=2).total_seconds()
    following, before = in_zone(day.end, zone, period), in_zone(Instant(day.start - 1), zone, period)
    assert following.start == day.end
    assert before.end == day.start
    assert in_zone(day.start, zone, period) == in_zone(Instant(day.end - 1), zone, period) == day
    assert in_zone(day.start, zone).start == day.start
    assert in_zone(Instant(day.end - 1), zone).end == day.end


def a_claim(request: str, images: int = 1, limit: int = 3, hold_for: float = 60.0) -> Claim:
    return Claim(request=request, images=images, limit=limit, hold_for=Seconds(hold_for))


CASES = {
    "an empty account grants": (Account(), a_claim("a"), Verdict.GRANTED),
    "exactly what is left": (Account(spent=1), a_claim("a", images=2), Verdict.GRANTED),
    "more than is left": (Account(spent=2), a_claim("a", images=2), Verdict.EXHAUSTED),
    "more than a day has": (Account(), a_claim("a", images=4), Verdict.EXHAUSTED),
    "an allowance of nothing": (Account(), a_claim("a", limit=0), Verdict.EXHAUSTED),
    "delivered before": (Account(spent=1, delivered=frozenset({"a"})), a_claim("a"), Verdict.DELIVERED),
    "delivered before, nothing left": (Account(spent=3, delivered=frozenset({"a"})), a_claim("a"), Verdict.DELIVERED),
}


@pytest.mark.parametrize(("account", "claim", "verdict"), CASES.values(), ids=CASES)
def test_an_account_answers(account: Account, claim: Claim, verdict: Verdict) -> None:
    answered = claim_images(account, claim, Instant(0.0))
    assert answered.verdict is verdict
    assert answered.account.used == account.used + (claim.images if verdict is Verdict.GRANTED else 0)


def test_a_hold_counts_until_its_time_is_up() -> None:
    account = claim_images(Account(), a_claim("a", hold_for=10.0), Instant(100.0)).account
    assert forget_expired(account, Instant(109.9)).used == 1
    assert forget_expired(account, Instant(110.0)).used == 0


events = st.lists(
    st.tuples(
        st.sampled_from(["claim", "commit", "release", "wait"]),
        st.integers(min_value=0, max_value=9),
        st.integers(min_value=1, max_value=2),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(steps=events, limit=st.integers(0, 5))
def test_no_order_of_claims_retries_and_endings_delivers_more_than_the_limit(
    steps: list[tuple[str, int, int]], limit: int
) -> None:
    """As long as holds outlive their requests, which the agent sees to."""
    account, now = Account(), 0.0
    running: dict[str, int] = {}
    delivered = 0
    for doing, number, images in steps:
        request = f"r{number}"
        now += doing == "wait"
        if doing == "claim":
            answered = claim_images(account, a_claim(request, images, limit, hold_for=1e6), Instant(now))
            account = answered.account
            if answered.verdict is Verdict.GRANTED:
                assert request not in running
                running[request] = images
        elif doing == "commit" and request in running:
            made = running.pop(request)
            account = commit(account, request, made)
            account = commit(account, request, made)
            delivered += made
        elif doing == "release" and request in running:
            del running[request]
            account = release(release(account, request), request)
        assert delivered + sum(running.values()) == account.used <= limit
