from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.features import feature_shares
from meltguard.core.policy import Feature, Level
from meltguard.core.seen import Slowed
from meltguard.core.units import Instant, Percent
from support.core_values import a_policy

EDIT = Feature(
    name="image-edit",
    rollout={Level.NORMAL: Percent(100), Level.ELEVATED: Percent(50), Level.OVERLOADED: Percent(50)},
)
POLICY = replace(a_policy(), features=(EDIT,))
NOW = Instant(1000.0)


def test_a_calm_service_slows_nothing_and_remembers_nothing() -> None:
    (share,), slowed = feature_shares(POLICY, Level.NORMAL, {"image-edit": Slowed(share=Percent(50), since=NOW)}, NOW)
    assert (share.share, share.since, share.cause) == (100, None, "")
    assert slowed == {}


def test_a_slowed_feature_says_why_since_when_and_what_lifts_it() -> None:
    (share,), slowed = feature_shares(POLICY, Level.ELEVATED, {}, NOW)
    assert share.share == 50
    assert share.cause == "level Elevated leaves feature image-edit to 50% of users instead of 100%"
    assert share.lifts_when == "the level falls to Normal: 100% of users then"
    assert share.since == NOW
    assert slowed == {"image-edit": Slowed(share=Percent(50), since=NOW)}


def test_the_same_share_at_a_higher_level_began_when_it_began() -> None:
    _, slowed = feature_shares(POLICY, Level.ELEVATED, {}, NOW)
    (share,), _ = feature_shares(POLICY, Level.OVERLOADED, slowed, Instant(1060.0))
    assert share.since == NOW
    assert share.lifts_when.startswith("the level falls to Normal")


@given(st.dictionaries(st.sampled_from(Level), st.integers(0, 100)), st.sampled_from(Level), st.sampled_from(Level))
def test_a_falling_rollout_never_grows_with_the_level(given: dict[Level, int], one: Level, other: Level) -> None:
    falling = dict(zip(sorted(given), sorted((Percent(share) for share in given.values()), reverse=True), strict=True))
    policy = replace(a_policy(), features=(Feature(name="f", rollout=falling),))
    (calmer,), _ = feature_shares(policy, min(one, other), {}, NOW)
    (harder,), _ = feature_shares(policy, max(one, other), {}, NOW)
    assert harder.share <= calmer.share
