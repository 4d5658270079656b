"""What every Clock does: the fake and the machine's."""

import pytest

from meltguard.clock import SystemClock
from meltguard.ports import Clock
from support.agents import ManualClock
from support.fakes import FakeClock

CLOCKS: dict[str, Clock] = {"fake": FakeClock(), "the agents' fake": ManualClock(), "system": SystemClock()}


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_time_never_runs_backwards_by_itself(clock: Clock) -> None:
    elapsed = [clock.elapsed() for _ in range(100)]
    assert elapsed == sorted(elapsed)
    now = [clock.now() for _ in range(100)]
    assert now == sorted(now)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_the_time_of_day_is_in_seconds_since_the_epoch(clock: Clock) -> None:
    assert 1_700_000_000 < clock.now() < 4_000_000_000


def test_a_step_of_the_wall_clock_does_not_touch_the_other() -> None:
    clock = FakeClock()
    before = clock.elapsed()
    clock.step(-3600.0)
    assert clock.elapsed() == before
    clock.advance(2.0)
    assert clock.elapsed() == before + 2.0
