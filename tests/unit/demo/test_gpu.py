import pytest

from meltguard.core.units import Celsius, Seconds
from meltguard.demo.gpu import IDLE_CLOCK, Gpu, GpuReading, card
from meltguard.sim.heat import BUSY_CLOCK, SLOW_CLOCK, Thermal
from meltguard.sim.spread import seeded

WARM = Thermal(idle=Celsius(30.0), loaded=Celsius(80.0), time_constant=Seconds(5.0))


def at(seconds: float) -> Seconds:
    return Seconds(1000.0 + seconds)


def reading_of(gpu: Gpu, seconds: float) -> GpuReading:
    return gpu.read(at(seconds))


def test_a_gpu_at_work_heats_up_to_where_it_settles_and_cools_down_again() -> None:
    gpu = Gpu(0, WARM, seeded(1))
    gpu.start(at(0))

    assert reading_of(gpu, 60).temperature == pytest.approx(80.0, abs=2.0)

    gpu.stop(at(60))

    assert reading_of(gpu, 65).temperature == pytest.approx(30 + 50 * 0.368, abs=2.0)
    assert reading_of(gpu, 120).temperature == pytest.approx(30.0, abs=2.0)


def test_half_the_work_gives_half_the_heat() -> None:
    gpu = Gpu(0, WARM, seeded(1))
    for i in range(1000):
        gpu.start(at(i * 0.1))
        gpu.stop(at(i * 0.1 + 0.05))

    assert reading_of(gpu, 100).temperature == pytest.approx(55.0, abs=2.0)


def test_utilization_is_the_busy_share_of_the_last_second() -> None:
    gpu = Gpu(0, WARM, seeded(1))
    gpu.start(at(0))
    gpu.stop(at(1.2))
    gpu.start(at(1.7))

    assert reading_of(gpu, 2.0).utilization == pytest.approx(0.5)
    assert reading_of(gpu, 2.7).utilization == pytest.approx(1.0)


def test_reading_often_changes_nothing_about_the_heat() -> None:
    seldom, often = Gpu(0, WARM, seeded(1)), Gpu(0, WARM, seeded(1))
    seldom.start(at(0))
    often.start(at(0))
    for i in range(1, 100):
        often.read(at(i * 0.1))

    assert often.read(at(10)).temperature == pytest.approx(seldom.read(at(10)).temperature, abs=2.5)
    assert often.read(at(10)).energy == pytest.approx(seldom.read(at(10)).energy)


@pytest.mark.parametrize(
    ("loaded", "busy", "clock"), [(80.0, True, BUSY_CLOCK), (80.0, False, IDLE_CLOCK), (95.0, True, SLOW_CLOCK)]
)
def test_clocks_follow_work_and_heat(loaded: float, busy: bool, clock: int) -> None:  # noqa: FBT001 - a case's column
    gpu = Gpu(0, Thermal(idle=Celsius(30.0), loaded=Celsius(loaded), time_constant=Seconds(1.0)), seeded(1))
    gpu.start(at(0))
    if not busy:
        gpu.stop(at(10))

    assert reading_of(gpu, 20).sm_clock == clock


def test_no_two_cards_settle_alike() -> None:
    chance = seeded(7)
    cards = [card(i, chance, speed=12.0) for i in range(8)]
    for gpu in cards:
        gpu.start(at(0))

    settled = {round(gpu.read(at(100)).temperature, 1) for gpu in cards}

    assert len(settled) == 8
    assert all(74.0 < temperature < 85.0 for temperature in settled)
