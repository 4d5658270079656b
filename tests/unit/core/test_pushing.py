"""Which change of a grant is worth a push of its own."""

from dataclasses import fields, replace
from typing import Any, Final

import pytest

from meltguard.core.grant import Grant, TierGrant
from meltguard.core.policy import Level, Quota, TierState
from meltguard.core.pushing import content
from meltguard.core.units import Epoch, Instant, Revision, Seconds, Share, UnitsPerSecond
from support.grants import a_grant, a_tier_grant

FOLLOW: Final = {"burst", "concurrency", "queue", "safe_rate"}
"""What is worked out from the rate and the GPUs, a little other each pass: it goes along with the next push."""

WORDS: Final = {"why", "since", "lifts_when"}

CHANGED: Final[dict[str, Any]] = {
    "name": "other",
    "priority": 77,
    "state": TierState.SUSPEND,
    "rate": None,
    "max_wait": Seconds(77.0),
    "shed_status": 429,
    "max_rate": UnitsPerSecond(77.0),
    "quota": Quota(images=77, time_zone="UTC"),
    "message": "come back later",
    "floor": Share(0.77),
    "until": Instant(77.0),
}


def told(**changes: Any) -> Grant:
    """Of one limited tier."""
    return a_grant(tiers=(a_tier_grant(**changes),))


def test_every_part_of_a_tier_is_thought_of() -> None:
    assert {one.name for one in fields(TierGrant)} == CHANGED.keys() | FOLLOW | WORDS


@pytest.mark.parametrize("name", CHANGED)
def test_what_an_agent_goes_by_is_pushed_at_once(name: str) -> None:
    """Else an edited policy would take hold when the lease is renewed, and not before."""
    assert content(told(**{name: CHANGED[name]})) != content(told())


@pytest.mark.parametrize("changes", [{"why": "other words"}, {"since": Instant(5.0)}, {"lifts_when": "it ebbs"}])
def test_words_alone_are_no_reason(changes: dict[str, Any]) -> None:
    assert content(told(**changes)) == content(told())


def test_of_the_whole_grant_stamps_are_no_reason_and_levels_are() -> None:
    stamped = replace(told(), epoch=Epoch(9), revision=Revision(9), issued_at=Instant(9.0), why="other words")
    assert content(stamped) == content(told())
    assert content(replace(told(), level=Level.CRITICAL)) != content(told())
    assert content(replace(told(), heat=Share(0.5))) != content(told())
