"""Levels: up by any signal that is known, down only by all of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.level import BLIND, ENTER, LEAVE, LevelState, Pressing, level_now, next_level, paused_level
from meltguard.core.memory import Memory
from meltguard.core.policy import Level
from meltguard.core.seen import Reading
from meltguard.core.units import Instant, Pressure, Seconds
from support.core_values import FREE, a_policy, a_snapshot

DWELL = Seconds(60.0)
T0 = Instant(1_000_000.0)
COOL = Pressure(0.1)
CALM = Pressing(most=COOL, acute=COOL)
HIGH = [level for level in Level if level is not Level.NORMAL]

levels = st.sampled_from(list(Level))
pressures = st.none() | st.floats(0.0, 3.0).map(Pressure)


def at(level: Level, *pressing: Pressing, every: float = 2.0) -> LevelState:
    """After these samples, one every two seconds."""
    state = LevelState(level=level, since=T0, risen=level, calm_since=None)
    for number, one in enumerate(pressing):
        state = next_level(state, one, DWELL, Instant(T0 + every * number))
    return state


@pytest.mark.parametrize("level", HIGH)
def test_calm_that_lasts_ends_a_level_one_step_at_a_time(level: Level) -> None:
    assert at(level, *[CALM] * 30).level is level
    assert at(level, *[CALM] * 31).level is Level(level - 1)


@pytest.mark.parametrize("level", HIGH)
def test_no_level_ends_while_agents_are_silent_however_cool_the_gpus_are(level: Level) -> None:
    """Nobody knows what is asked for: that the GPUs cool down may be for want of pods that serve."""
    silent = replace(CALM, unknown=("wait",), heard=False)
    assert at(level, *[silent] * 2000).level is level
    assert at(level, *[silent] * 2000, *[CALM] * 30).level is level, "the dwell begins with the first word"


@pytest.mark.parametrize("level", HIGH)
def test_what_a_signal_hides_keeps_a_level_for_ten_minutes_and_no_longer(level: Level) -> None:
    """The exporter of a hot GPU may be what fell silent; a Prometheus that is gone must not limit users for ever."""
    hidden = replace(CALM, unknown=("heat",))
    kept = int(BLIND / 2.0)
    assert at(level, *[hidden] * kept).level is level
    assert at(level, *[hidden] * (kept + 31)).level is Level(level - 1)


@pytest.mark.parametrize("level", HIGH)
def test_an_exporter_that_was_never_there_uses_up_no_other_signals_ten_minutes(level: Level) -> None:
    never = replace(CALM, most=Pressure(2.0), acute=Pressure(2.0), unknown=("power",))
    lost = replace(CALM, unknown=("power", "heat"))
    kept = int(BLIND / 2.0)
    state = replace(at(level, *[never] * 1800), level=level)
    for number in range(kept):
        state = next_level(state, lost, DWELL, Instant(T0 + 3600.0 + 2.0 * number))
    assert state.level is level
    for number in range(kept, kept + 31):
        state = next_level(state, lost, DWELL, Instant(T0 + 3600.0 + 2.0 * number))
    assert state.level is Level(level - 1)


def test_agents_silence_uses_up_no_signals_ten_minutes() -> None:
    silent, lost = replace(CALM, unknown=("wait",), heard=False), replace(CALM, unknown=("heat",))
    assert at(Level.CRITICAL, *[silent] * 450, *[lost] * 200).level is Level.CRITICAL


def test_a_signal_that_was_known_while_the_policy_was_paused_hides_anew() -> None:
    hidden = replace(CALM, unknown=("heat",))
    state = paused_level(at(Level.CRITICAL, hidden), CALM, Instant(T0 + 3600.0))
    for number in range(200):
        state = next_level(state, hidden, DWELL, Instant(T0 + 3602.0 + 2.0 * number))
    assert state.level is Level.CRITICAL


def test_a_signal_that_comes_and_goes_hides_anew_each_time() -> None:
    hidden = replace(CALM, unknown=("heat",))
    assert at(Level.CRITICAL, *([*[hidden] * 200, CALM] * 4)).level is Level.CRITICAL


@given(level=levels, most=pressures, acute=pressures, heard=st.booleans(), unknown=st.sampled_from([(), ("heat",)]))
def test_what_is_unknown_never_keeps_a_level_from_rising_and_only_ever_keeps_it_up(
    level: Level, most: Pressure | None, acute: Pressure | None, *, heard: bool, unknown: tuple[str, ...]
) -> None:
    seen = Pressing(most=most, acute=acute)
    partly = replace(seen, unknown=unknown, heard=heard)
    for count in (1, 2, 40):
        assert at(level, *[partly] * count).level >= at(level, *[seen] * count).level
    if at(level, seen, seen).level > level:
        assert at(level, partly, partly).level is at(level, seen, seen).level


@given(level=levels, most=st.floats(0.0, 3.0), count=st.integers(1, 100))
def test_a_level_holds_while_its_pressure_does(level: Level, most: float, count: int) -> None:
    held = max(most, LEAVE * ENTER.get(level, 0.0))
    assert at(level, *[Pressing(most=Pressure(held), acute=Pressure(held))] * count).level >= level


def test_the_words_name_what_is_not_known_and_until_when() -> None:
    def lifts(pressing: Pressing, **unknown_since: float) -> str:
        law = LevelState(level=Level.OVERLOADED, since=T0, risen=Level.OVERLOADED, calm_since=None)
        law = replace(law, unknown_since={name: Instant(at) for name, at in unknown_since.items()})
        return level_now(a_policy(dwell=DWELL), law, pressing, None, Instant(T0 + 1.0)).lifts_when

    assert lifts(CALM) == "pressure below 0.84 lasts for 60 s: Elevated then"
    assert lifts(replace(CALM, unknown=("heat", "use")), heat=T0, use=T0 - 60.0) == (
        "heat, use are known again, or it is 1970-01-12T13:56:40Z, "
        "and pressure below 0.84 lasts for 60 s: Elevated then"
    )
    assert lifts(replace(CALM, unknown=("heat", "use")), heat=T0, use=T0 - BLIND).startswith("heat is known again, or")
    assert lifts(replace(CALM, unknown=("use",)), use=T0 - BLIND) == lifts(CALM), "it hides nothing any more"
    assert lifts(replace(CALM, heard=False, unknown=("wait",)), wait=T0).startswith("agents answer again, and pressure")


def test_features_and_updates_say_the_same_of_what_is_not_known() -> None:
    hidden = replace(CALM, unknown=("heat",))
    law = at(Level.OVERLOADED, hidden)
    said = level_now(a_policy(dwell=DWELL), law, hidden, None, T0).falls_below(Level.OVERLOADED)
    assert said == (
        "the level falls to Elevated: heat is known again, or it is 1970-01-12T13:56:40Z, "
        "and pressure below 0.84 for 60 s"
    )


def test_a_decision_keeps_the_level_while_no_agent_answers() -> None:
    """Whole: the temperature is known and cool, no agent answers; ten minutes of it change nothing."""
    memory = Memory(level=Level.CRITICAL, level_since=Instant(1.0), risen=Level.CRITICAL)
    cool = tuple(Reading(signal=name, value=10.0, age=Seconds(1.0)) for name in ("heat", "use"))
    seen = a_snapshot({FREE: 4.0}, readings=cool)
    silent = replace(seen, loads=())
    for second in range(0, 1800, 5):
        memory = decide(a_policy(), memory, silent, Instant(T0 + second)).memory
    assert memory.level is Level.CRITICAL
    for second in range(1800, 3600, 5):
        memory = decide(
            a_policy(), memory, replace(seen, loads=a_snapshot({FREE: 0.5}).loads), Instant(T0 + second)
        ).memory
    assert memory.level is Level.NORMAL
