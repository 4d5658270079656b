from meltguard.core.units import Instant, NodeName, PodUid, Seconds
from meltguard.rehearse.clock import RehearsedClock, TimedStage
from support.stage import FakeStage

POD = PodUid("p")


def test_the_clock_shows_the_time_of_what_happens() -> None:
    clock, stage = RehearsedClock(Instant(1_000.0)), FakeStage(RehearsedClock(Instant(0.0)))
    seen: list[tuple[float, float, float]] = []
    TimedStage(stage, clock).at(Seconds(7.0), lambda at: seen.append((at, clock.elapsed(), clock.now())))
    stage.pass_until(9.0)
    assert seen == [(7.0, 7.0, 1_007.0)]


def test_all_else_is_the_stages_own() -> None:
    stage = FakeStage(RehearsedClock(Instant(0.0)))
    timed = TimedStage(stage, stage.clock)
    timed.open(POD, NodeName("gpu-1"), Seconds(1.0))
    timed.close(POD, Seconds(2.0))
    stage.busy.add(POD)
    assert not timed.is_idle(POD)
    timed.remove(POD)
    assert (stage.opened, stage.closed, stage.removed) == ({POD: "gpu-1"}, [POD], [POD])
