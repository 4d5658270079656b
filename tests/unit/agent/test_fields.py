"""The limits that clients are told: those in force, as they can be checked against what the gate then does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.agent.fields import (
    Allotment,
    ToldLimits,
    allotments,
    limits_of,
    openai_fields,
    rate_limit_fields,
    spent_for,
)
from meltguard.agent.rates import Rates
from meltguard.agent.standing import Standing
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Seconds, Units
from support.agents import FREE, limited

START = Seconds(0.0)


def rates_of(tier: TierLimit) -> Rates:
    rates = Rates()
    rates.obey(Standing(source=LimitSource.LEASE, tiers={tier.name: tier}, fallback=tier), START)
    return rates


def told(tier: TierLimit, drawn: float = 0.0, at: float = 0.0) -> list[Allotment]:
    rates = rates_of(tier)
    rates.draw(tier, Units(drawn), "", START)
    return allotments(rates, tier, Seconds(at))


TOLD = {
    "nothing limits it": (FREE, 0.0, []),
    "open again": (limited(FREE, TierState.OPEN, 0.5), 0.0, []),
    "limited, full": (limited(FREE, TierState.REJECT, 0.5, burst=4.0), 0.0, [("images-rate", 30, 60, 4, 0)]),
    "limited, drawn": (limited(FREE, TierState.DELAY, 0.5, burst=4.0), 3.0, [("images-rate", 30, 60, 1, 6)]),
    "used up": (limited(FREE, TierState.REJECT, 0.5, burst=4.0), 4.0, [("images-rate", 30, 60, 0, 2)]),
    "an image an hour": (limited(FREE, TierState.REJECT, 1 / 900, burst=1.0), 1.0, [("images-rate", 4, 3600, 0, 30)]),
    "no image": (limited(FREE, TierState.REJECT, 0.0, burst=1.0), 1.0, [("images-rate", 0, 86400, 0, 30)]),
    "suspended": (limited(FREE, TierState.SUSPEND, 0.0), 0.0, [("images-rate", 0, 60, 0, 30)]),
    "its own maximum": (FREE.model_copy(update={"max_rate": 2.0}), 0.0, [("images-maximum", 120, 60, 20, 0)]),
}


@pytest.mark.parametrize(("tier", "drawn", "expected"), TOLD.values(), ids=TOLD)
def test_the_limit_in_force_is_told(
    tier: TierLimit, drawn: float, expected: list[tuple[str, int, int, int, int]]
) -> None:
    found = told(tier, drawn)
    assert [(each.name, each.limit, each.window, each.left, each.reset) for each in found] == expected


def test_several_policies_share_one_field() -> None:
    found = told(limited(FREE, TierState.DELAY, 0.5, burst=1.0, max_rate=2.0), 1.0)
    assert rate_limit_fields(found) == {
        "ratelimit-policy": '"images-rate";q=30;w=60, "images-maximum";q=120;w=60',
        "ratelimit": '"images-rate";r=0;t=2, "images-maximum";r=20;t=0',
    }
    assert openai_fields(found) == {
        "x-ratelimit-limit-requests": "30",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "2s",
    }
    assert spent_for(found) == 2.0


@given(rate=st.floats(0, 100), burst=st.floats(0, 100), drawn=st.floats(0, 200), at=st.floats(0, 1e4))
def test_whatever_the_limit_numbers_are_whole_and_what_is_left_passes(
    rate: float, burst: float, drawn: float, at: float
) -> None:
    tier = limited(FREE, TierState.DELAY, rate, burst=burst)
    rates = rates_of(tier)
    rates.draw(tier, Units(drawn), "", START)
    (found,) = allotments(rates, tier, Seconds(at))
    text = rate_limit_fields([found])
    assert re.fullmatch(r'"images-rate";q=\d+;w=\d+', text["ratelimit-policy"])
    assert re.fullmatch(r'"images-rate";r=\d+;t=\d+', text["ratelimit"])
    assert found.limit / found.window <= rate
    for _ in range(found.left):
        assert rates.wait(tier, Units(1.0), "", Seconds(at)) <= 1e-9
        rates.draw(tier, Units(1.0), "", Seconds(at))


@given(
    rate=st.floats(0, 100),
    most=st.none() | st.floats(0, 100),
    burst=st.floats(0, 100),
    drawn=st.floats(0, 200),
    at=st.floats(0, 1e4),
)
def test_what_is_written_ahead_is_what_would_be_written_anew(
    rate: float, most: float | None, burst: float, drawn: float, at: float
) -> None:
    tier = limited(FREE, TierState.DELAY, rate, burst=burst, max_rate=most)
    rates = rates_of(tier)
    rates.draw(tier, Units(drawn), "", START)
    rates.draw_maximum(tier, Units(drawn), "", START)
    ahead = ToldLimits(limits_of(*rates.buckets(tier))).headers(Seconds(at))
    anew = rate_limit_fields(allotments(rates, tier, Seconds(at)))
    assert {name.decode(): value.decode() for name, value in ahead} == anew
