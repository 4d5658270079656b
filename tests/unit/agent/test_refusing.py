"""What a refused client is told: the operator's own words for the limit that it met, and when it ends."""

from typing import Any

import pytest

from meltguard.agent.cost import Cost
from meltguard.agent.gate import Gate, Hindrance
from meltguard.agent.quota_allowance import Allowance
from meltguard.agent.quota_asks import Reservation
from meltguard.agent.quota_desk import Denial
from meltguard.agent.quota_store import AccountKey, Ending, Settlement
from meltguard.agent.refusal import FOR_CAPACITY, THIS_POD_S_LINE, Reason, Refusal
from meltguard.agent.refusing import Told, refusal_of
from meltguard.agent.standing import Standing
from meltguard.agent.visit import Ask, Visit
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import SlowedFeature, TierLimit, TierState
from meltguard.core.quota import Period
from meltguard.core.units import Gpus, Instant, Seconds, TierName

NOW = Instant(1_800_000_000.0)
RULE = TierLimit(
    name="free",
    message="Free images pause.",
    why="demand 960/m is more than the GPUs' 480/m",
    since=NOW - 60,
    lifts_when="demand falls below 480/m, or nodes arrive",
    until=NOW + 600,
)
SLOWED = SlowedFeature(share=5, cause="level Overloaded leaves 5%", since=NOW - 30, lifts_when="the level falls")


def refused(
    reason: Reason,
    denial: Denial | None = None,
    images: int = 1,
    now: TierLimit = RULE,
    holds: bool = False,  # noqa: FBT001, FBT002 - a state
    **standing: Any,
) -> Refusal:
    ask = Ask(tier=TierName("free"), user="ann", cost=Cost(images=images), feature="edit")
    held = Standing(source=LimitSource.LEASE, tiers={"free": RULE}, fallback=RULE, features={"edit": 5}, **standing)
    at = Seconds(0.0)
    lane = Gate(Gpus(1), 10, held, at).fallback
    visit = Visit(lane.counts, ask.cost.units, at, ask, lane, at)
    if holds:
        account = AccountKey(policy="serving/image-gen", tier="free", user="ann")
        release = Settlement(account=account, span="today", request="r1", images=0, ending=Ending.RELEASE)
        visit.reservation = Reservation(settlement=release, allowance=None)
    return refusal_of(visit, Hindrance(reason, Seconds(2.0)), denial, Told({}, Seconds(0.0), now))


@pytest.mark.parametrize("reason", sorted(FOR_CAPACITY))
def test_who_meets_a_limit_is_told_its_cause_since_when_and_what_lifts_it(reason: Reason) -> None:
    told = refused(reason)
    assert (told.why, told.since, told.lifts_when, told.until) == (RULE.why, RULE.since, RULE.lifts_when, RULE.until)
    assert told.message == RULE.message


@pytest.mark.parametrize("reason", sorted(set(Reason) - FOR_CAPACITY - {Reason.FEATURE_SLOWED}))
def test_what_is_no_matter_of_capacity_is_not_blamed_on_the_limit(reason: Reason) -> None:
    told = refused(reason)
    assert (told.why, told.since, told.lifts_when, told.until) == ("", None, "", None)


def test_who_waited_as_the_limit_changed_is_told_of_the_one_that_is_in_force() -> None:
    word = RULE.model_copy(update={"why": "override: launch day (ann)", "until": NOW + 60})
    told = refused(Reason.TIER_SUSPENDED, now=word)
    assert (told.why, told.until) == (word.why, word.until)


def test_a_slowed_feature_has_the_cause_that_the_operator_decided() -> None:
    told = refused(Reason.FEATURE_SLOWED, slowed={"edit": SLOWED})
    assert (told.why, told.since, told.lifts_when) == (SLOWED.cause, SLOWED.since, SLOWED.lifts_when)
    usual = refused(Reason.FEATURE_SLOWED)
    assert usual.why == "feature edit is open to 5% of users"


@pytest.mark.parametrize("reason", sorted(Reason))
def test_only_what_another_pod_may_take_is_sent_there(reason: Reason) -> None:
    """Not where the tier is limited: it has its share of every pod."""
    assert refused(reason).elsewhere == (reason in THIS_POD_S_LINE or reason is Reason.STOPPING)
    for state in (TierState.DELAY, TierState.REJECT):
        limited = RULE.model_copy(update={"state": state, "rate": 1.0})
        assert refused(reason, now=limited).elsewhere == (reason is Reason.STOPPING)


@pytest.mark.parametrize("reason", sorted(THIS_POD_S_LINE))
def test_what_has_images_set_aside_is_not_sent_on_before_they_are_given_back(reason: Reason) -> None:
    assert not refused(reason, holds=True).elsewhere


def spent(used: int, limit: int = 3) -> Denial:
    allowance = Allowance(limit=limit, used=used, resets_in=Seconds(60.0), period=Period.WEEK)
    return Denial(reason=Reason.WEEKLY_QUOTA, reset=Instant(NOW + 60), allowance=allowance)


DETAILS = {
    "nothing is left": (3, 1, ""),
    "less is left than is asked for": (2, 2, "1 of the 3 images of this week are left, this request asks for 2"),
    "more is asked for than there ever is": (0, 5, "this request asks for 5 images, and a week has 3 in all"),
}


@pytest.mark.parametrize(("used", "images", "detail"), DETAILS.values(), ids=DETAILS)
def test_what_is_left_of_an_allowance_is_not_called_used_up(used: int, images: int, detail: str) -> None:
    assert refused(Reason.WEEKLY_QUOTA, spent(used), images).detail == detail
