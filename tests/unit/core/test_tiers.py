"""What a tier may have: the level, a person's word and the law together, and the words for it."""

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision, TierLimit
from meltguard.core.memory import Held, Memory
from meltguard.core.policy import Feature, Level, Mode, Override, Policy, TierState
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, Percent, Seconds, TierName, UnitsPerSecond
from support.core_values import FREE, LADDER, PLUS, a_policy, a_snapshot, a_tier

NOW = Instant(1000.0)
LATER = Instant(5000.0)
CAPACITY = 8.0  # of a snapshot's GPUs
SURGE = a_snapshot({FREE: 13.0, PLUS: 3.0}, {FREE: 60.0})
CALM = a_snapshot({FREE: 2.0, PLUS: 1.0})


def said(tier: TierName | None = FREE, *, until: Instant = LATER, **what: object) -> Override:
    return Override(until=until, reason="keynote", by="ann", tier=tier, **what)  # type: ignore[arg-type] # any of its fields


def limited_before(level: Level, rate: float | None) -> Memory:
    """The law's level, and the free tier's limit as the law last had it."""
    held = {FREE: Held(rate=None if rate is None else UnitsPerSecond(rate), since=NOW, rising=False, turned=NOW)}
    return Memory(level=level, level_since=NOW, risen=level, decided_at=NOW, limits=held)


def free(decision: Decision) -> TierLimit:
    return next(limit for limit in decision.limits if limit.tier == FREE)


def after(policy: Policy, memory: Memory, seen: Snapshot = SURGE, at: float = 1002.0) -> Decision:
    return decide(policy, memory, seen, Instant(at))


RATED = (None, TierState.DELAY, TierState.REJECT)  # the API server refuses a limit with the others
WORDS = [(state, limit) for state in RATED for limit in (None, 0.5, 40.0)]
WORDS += [(TierState.OPEN, None), (TierState.SUSPEND, None)]
FORCED = (None, Level.NORMAL, Level.ELEVATED, Level.CRITICAL)
LAWS = tuple(itertools.product((Level.ELEVATED, Level.OVERLOADED, Level.CRITICAL), (None, 3.5)))


def expected(state: TierState | None, limit: float | None, level: Level, law: float | None) -> tuple[TierState, bool]:
    """The state, and whether there is a rate. A person's word about the tier, then the level, then the law."""
    asked = state or LADDER.get(level, TierState.OPEN)
    if state is TierState.SUSPEND:
        return TierState.SUSPEND, True
    if limit is not None:
        bearable = {TierState.OPEN: TierState.DELAY, TierState.SUSPEND: TierState.REJECT}
        return bearable.get(asked, asked), True
    if state is TierState.OPEN:
        return TierState.OPEN, False
    if asked is TierState.SUSPEND:
        return TierState.SUSPEND, True
    if law is None or level is Level.NORMAL:
        return TierState.OPEN, False
    return (TierState.DELAY if asked is TierState.OPEN else asked), True


@pytest.mark.parametrize("forced", FORCED, ids=str)
@pytest.mark.parametrize(("state", "limit"), WORDS, ids=str)
def test_a_persons_word_stands_above_the_level_and_the_law(
    state: TierState | None, limit: float | None, forced: Level | None
) -> None:
    """In every state, limit and level that may be set, over every level and limit that the law may have."""
    words = [] if state is None and limit is None else [said(state=state, limit=limit)]
    words += [] if forced is None else [said(None, level=forced)]
    for law, rate in LAWS:
        decision = after(a_policy(overrides=tuple(words)), limited_before(law, rate), a_snapshot({FREE: 13.0}))
        found = free(decision)
        wanted = expected(state, limit, forced or decision.level, rate)
        assert (found.state, found.rate is not None) == wanted, (law, rate)
        if limit is not None and state is not TierState.SUSPEND:
            assert found.rate == limit
        if found.state is TierState.SUSPEND:
            assert found.rate == 0
        assert bool(found.cause) == (found.state is not TierState.OPEN), "what is open needs no cause"


def test_a_tier_that_a_person_opens_takes_its_share_before_the_law_divides() -> None:
    policy = a_policy(overrides=(said(state=TierState.OPEN),), tiers=(*a_policy().tiers, a_tier("guest", priority=-1)))
    seen = a_snapshot({FREE: 5.0, PLUS: 1.0, TierName("guest"): 9.0}, {TierName("guest"): 60.0})
    decision = after(policy, limited_before(Level.OVERLOADED, 3.0), seen)
    guest = next(limit for limit in decision.limits if limit.tier == "guest")
    assert free(decision).rate is None
    assert guest.rate == pytest.approx(CAPACITY - 6.0, abs=0.6)


def test_what_a_person_keeps_from_a_tier_is_there_for_the_others_at_once() -> None:
    """A limit of 30 a minute on a tier that asks for 240 leaves 450 of 480, not 240."""
    policy = a_policy(overrides=(said(PLUS, limit=UnitsPerSecond(0.5)),))
    seen = a_snapshot({FREE: 12.0, PLUS: 4.0}, {FREE: 60.0})
    before = replace(limited_before(Level.OVERLOADED, None), demand={FREE: 12.0, PLUS: 4.0})
    decision = after(policy, before, seen)
    assert free(decision).rate == pytest.approx(7.5, abs=0.5)


def test_a_persons_limit_does_not_wind_up_the_trim() -> None:
    """GPUs that idle because a person keeps a tier out say nothing of what they can do."""
    policy = a_policy(overrides=(said(limit=UnitsPerSecond(0.5)),))
    memory = limited_before(Level.OVERLOADED, None)
    idle = replace(a_snapshot({FREE: 12.0}), loads=tuple(replace(one, busy=0.1) for one in SURGE.loads))
    for second in range(1, 200):
        memory = after(policy, memory, idle, NOW + 2.0 * second).memory
    assert memory.trim <= 1.0


def test_a_forced_level_has_its_own_since_and_the_laws_goes_on_below() -> None:
    policy = a_policy(overrides=(said(None, level=Level.NORMAL, until=Instant(1030.0)),))
    memory = limited_before(Level.OVERLOADED, None)
    decisions = []
    for second in range(2, 40, 2):
        decisions.append(after(policy, memory, SURGE, NOW + second))
        memory = decisions[-1].memory
    forced = [one for one in decisions if one.at < 1030.0]
    assert {(one.level, one.level_since) for one in forced} == {(Level.NORMAL, 1002.0)}
    assert {one.memory.level for one in forced} == {Level.OVERLOADED}
    assert decisions[-1].level > Level.NORMAL, "the law's level holds at once"
    assert decisions[-1].level_since == 1030.0


def paused(**changes: object) -> Policy:
    return a_policy(mode=Mode.PAUSED, features=(EDIT,), **changes)


EDIT = Feature(
    name="edit", rollout={Level.NORMAL: Percent(100), Level.ELEVATED: Percent(50), Level.CRITICAL: Percent(0)}
)


def running(policy: Policy, memory: Memory, seen: Snapshot, until: float) -> Decision:
    decision = after(policy, memory, seen, (memory.decided_at or NOW) + 2.0)
    while decision.at < until:
        decision = after(policy, decision.memory, seen, decision.at + 2.0)
    return decision


def test_a_pause_keeps_level_rates_and_features_whatever_comes() -> None:
    before = running(a_policy(features=(EDIT,)), Memory(), a_snapshot({FREE: 9.0}, {FREE: 40.0}), 1020.0)
    rate = free(before).rate
    assert rate is not None
    for seen in (CALM, SURGE, a_snapshot({FREE: 60.0}, {FREE: 900.0})):
        held = running(paused(), before.memory, seen, 1300.0)
        assert (free(held).rate, free(held).state, held.level) == (rate, free(before).state, before.level)
        assert held.features[0].share == before.features[0].share
        assert free(held).lifts_when == "the policy is resumed"


def test_an_override_in_a_pause_holds_and_ends() -> None:
    before = running(a_policy(features=(EDIT,)), Memory(), a_snapshot({FREE: 9.0}, {FREE: 40.0}), 1020.0)
    word = said(state=TierState.SUSPEND, until=Instant(1060.0))
    level = said(None, level=Level.CRITICAL, until=Instant(1060.0))
    for words in ((word,), (level,), (word, level)):
        held = running(paused(overrides=words), before.memory, SURGE, 1050.0)
        assert (free(held).state, free(held).until) == (TierState.SUSPEND, 1060.0)
        over = running(paused(overrides=words), held.memory, SURGE, 1062.0)
        assert free(over).state is free(before).state
        assert free(over).rate is not None
        assert free(over).rate > 0
        assert over.features[0].share == before.features[0].share


def test_an_override_that_was_in_force_at_the_pause_ends_in_it_and_what_it_fixed_with_it() -> None:
    """Whatever it fixed, the law is asked what follows; nothing opens while demand does not fit."""
    ends = Instant(1060.0)
    for what in ({"state": TierState.SUSPEND}, {"state": TierState.OPEN}, {"limit": UnitsPerSecond(0.5)}):
        word = said(until=ends, **what)
        before = running(a_policy(overrides=(word,)), limited_before(Level.OVERLOADED, 3.0), SURGE, 1020.0)
        over = running(paused(overrides=(word,)), before.memory, SURGE, 1064.0)
        assert over.overrides == ()
        assert free(over).rate is not None
        assert 1.0 < free(over).rate < CAPACITY
        assert free(over).cause.startswith("the policy is paused")


MORE = re.compile(r"([\d.]+)/m is more than the(?: GPUs')? ([\d.]+)/m")
FITS = re.compile(r"([\d.]+)/m (?:fits the GPUs'|is no more than the) ([\d.]+)/m")


@settings(deadline=None, max_examples=300)
@given(
    demand=st.tuples(st.floats(0.0, 20.0), st.floats(0.0, 12.0)),
    waiting=st.floats(0.0, 300.0),
    held=st.one_of(st.none(), st.floats(0.0, 12.0)),
    trim=st.floats(0.5, 2.0),
    level=st.sampled_from(Level),
)
def test_every_comparison_in_a_cause_holds_in_the_numbers_that_it_prints(
    demand: tuple[float, float], waiting: float, held: float | None, trim: float, level: Level
) -> None:
    offered = dict(zip((FREE, PLUS), demand, strict=True))
    memory = replace(limited_before(level, held), trim=trim, demand=offered)
    decision = after(a_policy(), memory, a_snapshot(offered, {FREE: waiting}))
    for limit in decision.limits:
        assert "/s" not in limit.cause
        for more, less in MORE.findall(limit.cause):
            assert float(more) > float(less), limit.cause
        for some, room in FITS.findall(limit.cause):
            assert float(some) <= float(room), limit.cause
        assert bool(limit.cause) == bool(limit.lifts_when)
        assert (limit.state is TierState.OPEN) == (not limit.cause)


CASES = {
    "demand is above capacity": (
        a_snapshot({FREE: 13.0, PLUS: 3.0}, {FREE: 60.0}),
        r"960/m is more than the GPUs' 480/m",
    ),
    "a backlog drains": (a_snapshot({FREE: 6.0, PLUS: 1.9}, {PLUS: 100.0}), r"100 image units wait for a GPU, 12 s"),
    "nodes have come": (a_snapshot({FREE: 4.0, PLUS: 1.0}), r"demand 300/m fits the GPUs' \d+/m again"),
}


@pytest.mark.parametrize(("seen", "words"), CASES.values(), ids=CASES)
def test_the_cause_is_that_of_the_case(seen: Snapshot, words: str) -> None:
    demand = {name: sum(load.tiers[name].offered for load in seen.loads) for name in (FREE, PLUS)}
    before = replace(limited_before(Level.OVERLOADED, 3.0), demand=demand)
    found = free(after(a_policy(capacity=replace(a_policy().capacity, units_per_gpu=1.0)), before, seen))
    assert re.search(words, found.cause), found.cause
    assert f"{1.25 * demand[FREE] * 60:.0f}/m" in found.lifts_when, "the number at which the law lifts"


def test_silent_agents_leave_the_limit_and_say_so() -> None:
    found = free(after(a_policy(), limited_before(Level.OVERLOADED, 3.0), a_snapshot({}, loads=())))
    assert found.rate == 3.0
    assert "not known now" in found.cause
    assert "agents answer" in found.lifts_when


def test_a_suspension_names_whose_word_it_is_and_when_it_ends() -> None:
    by_law = free(after(a_policy(), limited_before(Level.CRITICAL, None)))
    assert re.match(r"level Critical \(pressure [\d.]+\) asks for Suspend on tier free", by_law.cause)
    assert by_law.lifts_when == "the level falls to Overloaded: pressure without demand below 1.05 for 60 s"
    assert by_law.until is None
    drill = said(None, level=Level.CRITICAL)
    by_level = free(after(a_policy(overrides=(drill,)), limited_before(Level.NORMAL, None), CALM))
    assert by_level.cause == "override: keynote (ann) sets level Critical, which asks for Suspend on tier free"
    assert by_level.lifts_when == "the override of the level ends at 1970-01-01T01:23:20Z"
    assert by_level.until == LATER


def test_the_words_of_a_calm_service_under_a_forced_level_promise_no_step_down() -> None:
    drill = said(None, level=Level.OVERLOADED, until=LATER)
    decision = running(a_policy(overrides=(drill,)), Memory(), CALM, 1200.0)
    assert decision.next_change.split("; ")[0] == "level Overloaded ends with its override at 1970-01-01T01:23:20Z"
    assert decision.why.startswith("Overloaded by override")


def test_a_held_level_is_told_as_held_and_what_it_waits_for() -> None:
    decision = after(a_policy(), limited_before(Level.OVERLOADED, None), a_snapshot({FREE: 7.4}), NOW + 2)
    assert decision.why.startswith("Overloaded until pressure below 0.84 lasts: demand 0.9")
    assert Seconds(60.0) == a_policy().dwell
