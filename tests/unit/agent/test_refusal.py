import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.refusal import WORDINGS, Reason, Refusal, answer, retry_after, status_of
from meltguard.core.units import Instant, Seconds, Share, TierName

NOW = Instant(1_800_000_000.0)


def a_refusal(reason: Reason = Reason.QUEUE_FULL, **changes: Any) -> Refusal:
    fields = {"tier": TierName("free"), "status": 503, "wait": Seconds(8.0), **changes}
    return Refusal(reason=reason, **fields)


def test_every_reason_has_its_wording() -> None:
    assert set(WORDINGS) == set(Reason)


STATUSES = {
    "shed as the policy says": (Reason.OVER_RATE, 429, 429),
    "shed with 503": (Reason.TIER_SUSPENDED, 503, 503),
    "the own quota is always 429": (Reason.DAILY_QUOTA, 503, 429),
    "the own maximum is always 429": (Reason.OWN_MAXIMUM, 503, 429),
    "a lost store is never the user's fault": (Reason.QUOTA_STORE, 429, 503),
}


@pytest.mark.parametrize(("reason", "shed", "expected"), STATUSES.values(), ids=STATUSES)
def test_the_status_follows_the_reason(reason: Reason, shed: int, expected: int) -> None:
    assert status_of(reason, shed) == expected


RETRIES = {
    "as long as the drain takes": (a_refusal(), 0.0, 8),
    "spread by luck": (a_refusal(), 1.0, 10),
    "at least a second": (a_refusal(wait=Seconds(0.01)), 0.0, 1),
    "at most half a minute": (a_refusal(wait=Seconds(1e6)), 0.0, 30),
    "unknown": (a_refusal(wait=None), 0.0, 30),
    "an exact reset": (a_refusal(Reason.DAILY_QUOTA, reset=Instant(NOW + 5400.2)), 0.0, 5401),
    "an exact reset, and a little later": (a_refusal(Reason.DAILY_QUOTA, reset=Instant(NOW + 5400.2)), 1.0, 5461),
    "a reset that is near": (a_refusal(Reason.DAILY_QUOTA, reset=Instant(NOW + 8.0)), 1.0, 10),
    "a known end": (a_refusal(Reason.TIER_SUSPENDED, wait=None, until=Instant(NOW + 120)), 0.0, 120),
    "a known end, spread": (a_refusal(Reason.TIER_SUSPENDED, wait=None, until=Instant(NOW + 120)), 1.0, 150),
    "a feature's known end": (a_refusal(Reason.FEATURE_SLOWED, wait=None, until=Instant(NOW + 60)), 0.0, 60),
    "a known end that is far": (a_refusal(Reason.TIER_SUSPENDED, wait=None, until=Instant(NOW + 9e4)), 0.0, 300),
    "a known end that is over": (a_refusal(Reason.TIER_SUSPENDED, wait=None, until=Instant(NOW - 5)), 0.0, 30),
    "what is limited may pass before": (a_refusal(Reason.OVER_RATE, until=Instant(NOW + 9e4)), 0.0, 8),
    "useless": (a_refusal(Reason.COST_UNKNOWN, wait=None), 0.0, None),
}


@pytest.mark.parametrize(("refusal", "luck", "expected"), RETRIES.values(), ids=RETRIES)
def test_when_to_try_again(refusal: Refusal, luck: float, expected: int | None) -> None:
    assert retry_after(refusal, NOW, Share(luck)) == expected


@settings(deadline=None)
@given(wait=st.none() | st.floats(0, 1e9), luck=st.floats(0, 1))
def test_an_estimate_is_always_bounded_and_never_early(wait: float | None, luck: float) -> None:
    seconds = retry_after(a_refusal(wait=wait), NOW, Share(luck))
    assert seconds is not None
    assert 1 <= seconds <= 38
    assert wait is None or seconds >= min(wait, 30)


def test_a_shed_request_is_told_everything() -> None:
    refusal = a_refusal(
        Reason.TIER_SUSPENDED,
        message="Free images pause while demand is high.",
        why="Critical since 12:00: wait 14 s",
        since=Instant(NOW - 60),
        lifts_when="the level falls to Overloaded",
        until=Instant(NOW + 10),
    )
    told = answer(refusal, NOW, Share(0.0))
    body = json.loads(told.body)
    assert (told.status, told.content_type, told.headers["retry-after"]) == (503, "application/problem+json", "10")
    assert body["type"] == "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    assert (body["title"], body["status"], body["reason"]) == ("Temporary reduced capacity", 503, "tier-suspended")
    assert (body["tier"], body["since"], body["retryAfter"]) == ("free", "2027-01-15T07:59:00Z", 10)
    assert body["message"] == "Free images pause while demand is high."
    assert body["why"] == "Critical since 12:00: wait 14 s"
    assert (body["liftsWhen"], body["until"]) == ("the level falls to Overloaded", "2027-01-15T08:00:10Z")
    assert not {"until", "liftsWhen"} & json.loads(answer(a_refusal(), NOW, Share(0.0)).body).keys()


SPENT = {
    Reason.DAILY_QUOTA: ("images-daily", "day"),
    Reason.WEEKLY_QUOTA: ("images-weekly", "week"),
    Reason.MONTHLY_QUOTA: ("images-monthly", "month"),
}


@pytest.mark.parametrize(("reason", "words"), SPENT.items(), ids=str)
def test_a_spent_allowance_says_of_what_period(reason: Reason, words: tuple[str, str]) -> None:
    body = json.loads(answer(a_refusal(reason, status=429, reset=Instant(NOW + 60)), NOW, Share(0.5)).body)
    assert body["violated-policies"] == [words[0]]
    assert body["detail"] == f"the images of this {words[1]} are used up"
    assert body["type"].endswith("#quota-exceeded")


def test_a_tiers_own_maximum_names_the_policy_that_it_is() -> None:
    body = json.loads(answer(a_refusal(Reason.OWN_MAXIMUM, status=429), NOW, Share(0.0)).body)
    assert body["violated-policies"] == ["images-maximum"]


@given(left=st.floats(0.0, 1e7), luck=st.floats(0, 1))
def test_nobody_is_called_back_before_an_exact_reset_nor_long_after_it(left: float, luck: float) -> None:
    seconds = retry_after(a_refusal(Reason.DAILY_QUOTA, reset=Instant(NOW + left)), NOW, Share(luck))
    assert seconds is not None
    assert left - 1e-3 <= seconds <= left + min(61.0, 0.25 * left + 2.0)


def test_a_spent_allowance_names_its_reset_and_policy() -> None:
    told = answer(a_refusal(Reason.DAILY_QUOTA, status=429, reset=Instant(NOW + 60)), NOW, Share(0.5))
    body = json.loads(told.body)
    assert (told.status, told.headers["retry-after"]) == (429, "68"), "the reset, and a little by chance"
    assert body["type"].endswith("#quota-exceeded")
    assert (body["violated-policies"], body["until"]) == (["images-daily"], "2027-01-15T08:01:00Z")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_can_be_told(reason: Reason) -> None:
    status = status_of(reason, 503)
    told = json.loads(answer(a_refusal(reason, status=status), NOW, Share(0.0)).body)
    assert (told["status"], told["reason"]) == (status, reason.value)
    assert told["title"]
