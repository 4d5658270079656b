from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.features import _known_place, feature_shares, has_feature
from meltguard.core.memory import Slowed
from meltguard.core.policy import Feature, Level
from meltguard.core.units import Instant, Percent
from support.core_values import a_policy, at_level

EDIT = Feature(
    name="image-edit",
    rollout={Level.NORMAL: Percent(100), Level.ELEVATED: Percent(50), Level.OVERLOADED: Percent(50)},
)
POLICY = replace(a_policy(), features=(EDIT,))
NOW = Instant(1000.0)


def test_a_calm_service_slows_nothing_and_remembers_nothing() -> None:
    (share,), slowed = feature_shares(
        POLICY, at_level(Level.NORMAL), {"image-edit": Slowed(share=Percent(50), since=NOW)}, NOW
    )
    assert (share.share, share.since, share.cause) == (100, None, "")
    assert slowed == {}


def test_a_slowed_feature_says_why_since_when_and_what_lifts_it() -> None:
    (share,), slowed = feature_shares(POLICY, at_level(Level.ELEVATED), {}, NOW)
    assert share.share == 50
    assert share.cause == "level Elevated (pressure 1.00) leaves feature image-edit to 50% of users instead of 100%"
    assert share.lifts_when == "the level falls to Normal: pressure below 0.70 for 60 s; 100% of users then"
    assert share.since == NOW
    assert slowed == {"image-edit": Slowed(share=Percent(50), since=NOW)}


def test_the_same_share_at_a_higher_level_began_when_it_began() -> None:
    _, slowed = feature_shares(POLICY, at_level(Level.ELEVATED), {}, NOW)
    (share,), _ = feature_shares(POLICY, at_level(Level.OVERLOADED), slowed, Instant(1060.0))
    assert share.since == NOW
    assert share.lifts_when.startswith("the level falls to Normal")


@given(st.dictionaries(st.sampled_from(Level), st.integers(0, 100)), st.sampled_from(Level), st.sampled_from(Level))
def test_a_falling_rollout_never_grows_with_the_level(given: dict[Level, int], one: Level, other: Level) -> None:
    falling = dict(zip(sorted(given), sorted((Percent(share) for share in given.values()), reverse=True), strict=True))
    policy = replace(a_policy(), features=(Feature(name="f", rollout=falling),))
    (calmer,), _ = feature_shares(policy, at_level(min(one, other)), {}, NOW)
    (harder,), _ = feature_shares(policy, at_level(max(one, other)), {}, NOW)
    assert harder.share <= calmer.share


@given(st.text(max_size=20), st.integers(0, 100), st.integers(0, 100))
def test_who_has_a_feature_at_a_share_has_it_at_every_larger_one(user: str, one: int, other: int) -> None:
    """So a share that shrinks and grows flaps for nobody whose place it does not cross."""
    assert has_feature("edit", user, Percent(min(one, other))) <= has_feature("edit", user, Percent(max(one, other)))


@pytest.mark.parametrize("share", [0, 5, 50, 100])
def test_the_share_of_users_is_the_share_that_was_asked_for(share: int) -> None:
    users = [f"user-{number}" for number in range(4000)]
    having = sum(has_feature("edit", user, Percent(share)) for user in users)
    assert abs(having / len(users) - share / 100) < 0.025


def test_the_same_users_do_not_go_without_every_feature() -> None:
    users = [f"user-{number}" for number in range(1000)]
    edit, upscale = ({u for u in users if has_feature(name, u, Percent(50))} for name in ("edit", "upscale"))
    assert 150 < len(edit & upscale) < 350


def test_a_users_place_is_the_same_whether_it_is_known_or_counted_anew() -> None:
    users = [*(f"user-{number}" for number in range(300)), *("u" * 300 + str(number) for number in range(300))]
    first = [has_feature("edit", user, Percent(50)) for user in users]
    _known_place.cache_clear()
    assert [has_feature("edit", user, Percent(50)) for user in users] == first
    assert _known_place.cache_info().currsize == 300  # long names are not kept
