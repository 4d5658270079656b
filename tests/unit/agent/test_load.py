"""What a pod says of its load, and what a divider makes of it."""

import json

import pytest

from meltguard.agent.counters import GpuMeter
from meltguard.agent.load import ORCA_HEADER, Load, LoadMeter
from meltguard.core.units import Gpus, Seconds, Share, Units

COOL = Share(1.0)
LATER = Seconds(1_000.0)  # all averages have settled


def a_pod(seconds: float = 2.0, waiting: float = 0.0, gpus: int = 1, working: int = 1) -> LoadMeter:
    """A pod whose images of one unit take so long, with so much at work and waiting for a long time."""
    meter = GpuMeter(Gpus(gpus), Seconds(0.0))
    load = LoadMeter(meter, Seconds(0.0))
    meter.done(Units(1.0), Seconds(0.0), Seconds(seconds))
    for _ in range(working):
        meter.start(Units(1.0), Seconds(0.0))
    load.see(Units(waiting), Seconds(0.0))
    return load


def told(load: LoadMeter, heat: Share = COOL, at: Seconds = LATER) -> Load:
    found = load.load(heat, at)
    assert found is not None
    return found


def test_a_pod_that_has_made_no_image_says_nothing_but_what_it_holds() -> None:
    load = LoadMeter(GpuMeter(Gpus(1), Seconds(0.0)), Seconds(0.0))
    assert load.headers(COOL, LATER) == []
    said = json.loads(load.as_json(COOL, LATER))
    assert (said["weight"], said["heldUnits"], said["gpus"]) == (None, 0.0, 1)


@pytest.mark.parametrize("working", [0, 1, 2, 4])
def test_without_a_queue_a_pod_weighs_what_its_gpus_do(working: int) -> None:
    assert told(a_pod(2.0, gpus=4, working=working)).weight == pytest.approx(2.0)


def test_a_slower_pod_weighs_less() -> None:
    assert told(a_pod(4.0)).weight == pytest.approx(told(a_pod(2.0)).weight / 2)


def test_a_pod_with_two_gpus_weighs_twice_as_much() -> None:
    assert told(a_pod(2.0, gpus=2, working=2)).weight == pytest.approx(2 * told(a_pod(2.0)).weight)


def test_heat_takes_from_a_pod_s_weight_what_it_takes_from_its_gpus() -> None:
    assert told(a_pod(), Share(0.5)).weight == pytest.approx(told(a_pod()).weight / 2)


def test_each_waiting_request_lowers_the_weight_and_shows_as_utilization() -> None:
    pods = [told(a_pod(waiting=waiting)) for waiting in (0.0, 1.0, 3.0, 8.0)]
    assert [pod.weight for pod in pods] == sorted((pod.weight for pod in pods), reverse=True)
    assert pods[0].weight > pods[1].weight > pods[2].weight > pods[3].weight
    assert [pod.utilization for pod in pods] == pytest.approx([1.0, 2**0.5, 2.0, 3.0])


def test_a_queue_of_large_requests_counts_as_many_as_it_is_requests() -> None:
    meter = GpuMeter(Gpus(1), Seconds(0.0))
    load = LoadMeter(meter, Seconds(0.0))
    meter.done(Units(4.0), Seconds(0.0), Seconds(8.0))
    meter.start(Units(4.0), Seconds(0.0))
    load.see(Units(12.0), Seconds(0.0))
    assert told(load).utilization == pytest.approx(2.0)


def test_the_report_is_never_so_small_that_envoy_takes_it_for_none() -> None:
    load = a_pod(seconds=100_000.0, waiting=1_000.0)
    ((name, value),) = load.headers(Share(0.5), LATER)
    fields = dict(part.split("=") for part in value.decode().removeprefix("TEXT ").split(","))
    assert name == ORCA_HEADER
    assert int(fields["rps_fractional"]) >= 1
    assert float(fields["application_utilization"]) > 0


def test_slow_pods_of_real_images_still_differ_in_whole_numbers() -> None:
    weights = [int(told(a_pod(seconds, waiting=20.0)).rate * 1e6 / 4.6) for seconds in (20.0, 21.0)]
    assert weights[0] > weights[1] > 100


def test_averages_forget_within_an_image_or_two() -> None:
    meter = GpuMeter(Gpus(1), Seconds(0.0))
    load = LoadMeter(meter, Seconds(0.0))
    meter.done(Units(1.0), Seconds(0.0), Seconds(2.0))
    meter.start(Units(1.0), Seconds(0.0))
    load.see(Units(8.0), Seconds(0.0))
    load.see(Units(0.0), Seconds(100.0))
    assert told(load, at=Seconds(100.0)).utilization == pytest.approx(3.0)
    assert told(load, at=Seconds(104.0)).utilization < 1.1
