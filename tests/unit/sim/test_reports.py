"""Rates in simulated time are formed as the controller forms them."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.controller.agents import Followed
from meltguard.core.load import AgentCounters
from meltguard.core.units import Epoch, Gpus, NodeName, PodUid, Revision, Seconds, Units
from meltguard.ports import Target
from meltguard.sim.reports import Reports

POD, NODE = PodUid("pod-1"), NodeName("gpu-01")


def counters(at: float, done: float) -> AgentCounters:
    return AgentCounters(
        pod=POD,
        instance="one",
        sequence=0,
        uptime=Seconds(at),
        leased=True,
        epoch=Epoch(1),
        revision=Revision(1),
        gpus=Gpus(8),
        busy=Seconds(4.0 * at),
        done=Units(done),
        in_flight=Units(0.0),
        quota_store="unused",
        tiers={},
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 11.0), st.floats(0.0, 20.0)), min_size=1, max_size=12))
def test_as_the_controllers_book(steps: list[tuple[float, float]]) -> None:
    followed = Followed(target=Target(pod=POD, name="s/p", address="127.0.0.1", port=1), node=NODE)
    reports, at, done = Reports(), 0.0, 0.0
    for pause, more in steps:
        at, done = at + pause, done + more
        followed.take(counters(at, done), Seconds(at))
        reports.record(counters(at, done), Seconds(at))
        expected = followed.load(Seconds(at))
        assert reports.loads({POD: NODE}, Seconds(at)) == ((replace(expected, name=""),) if expected else ())


def test_a_pod_that_went_away_is_forgotten() -> None:
    reports = Reports()
    for at in (1.0, 3.0):
        reports.record(counters(at, at), Seconds(at))
    assert len(reports.loads({POD: NODE}, Seconds(3.0))) == 1
    assert reports.loads({}, Seconds(3.0)) == ()
    assert reports.loads({POD: NODE}, Seconds(3.0)) == ()


def test_what_is_younger_than_the_lag_is_not_seen_yet() -> None:
    reports = Reports(lag=Seconds(10.0))
    for at in (1.0, 3.0, 5.0, 13.5):
        reports.record(counters(at, 0.0 if at < 10 else 99.0), Seconds(at))
    (load,) = reports.loads({POD: NODE}, Seconds(14.0))
    assert load.done == 0.0
