"""Which agents are believed, and what comes of the others' word."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.belief import SETTLED, STUCK, agreed_share, doubts_in_words, unheard_share, weighed
from meltguard.core.load import PodLoad, Told
from meltguard.core.policy import Policy
from meltguard.core.pools import assign
from meltguard.core.pressure import assess
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import Gpus, NodeName, PodUid, Seconds, Units, UnitsPerSecond
from support.core_values import FREE, a_load, a_node, a_pod, a_policy, a_pool, a_snapshot

A_GPU = UnitsPerSecond(1.0)


def a_pod_that(number: int, offered: float = 0.75, busy: float = 0.75, **changes: Any) -> PodLoad:
    return replace(a_load(number, {FREE: offered}, {}, busy=busy), name=f"serving/image-gen-{number}", **changes)


def of(*loads: PodLoad, **changes: Any) -> Snapshot:
    return replace(a_snapshot({FREE: 1.0}), loads=loads, ready_pods=len(loads), **changes)


def believed(seen: Snapshot, policy: Policy | None = None, per_gpu: UnitsPerSecond | None = A_GPU) -> Snapshot:
    policy = policy or a_policy(capacity=None)
    return weighed(policy, seen, assess(policy, seen.readings), per_gpu)


def doubted(seen: Snapshot) -> set[str]:
    return {str(load.pod) for load in believed(seen).loads if load.doubt}


def usual_pods(count: int) -> list[PodLoad]:
    return [a_pod_that(number) for number in range(count)]


def test_of_a_service_at_work_every_agent_is_believed() -> None:
    seen = of(*usual_pods(8))
    assert believed(seen) is seen


@pytest.mark.parametrize("count", [3, 4, 8, 50])
def test_a_pod_that_is_offered_far_more_than_the_others_counts_as_not_answering(count: int) -> None:
    seen = believed(of(a_pod_that(0, offered=1e5), *(a_pod_that(number) for number in range(1, count))))
    assert {load.pod for load in seen.loads if load.doubt} == {"pod-0"}
    assert seen.coverage == pytest.approx(1 - 1 / count)
    assert doubts_in_words(seen) == ("serving/image-gen-0 tells of 1e+05 units a second, the others of 0.75",)


def test_of_two_pods_that_contradict_each_other_none_is_believed() -> None:
    assert doubted(of(a_pod_that(0, offered=1e5), a_pod_that(1))) == {"pod-0", "pod-1"}


def test_where_no_majority_agrees_none_is_believed() -> None:
    liars = [a_pod_that(number, offered=1e5) for number in range(4)]
    assert len(doubted(of(*liars, *(a_pod_that(number) for number in range(4, 9))))) == 4
    assert len(doubted(of(*liars, *(a_pod_that(number) for number in range(4, 8))))) == 8


def test_a_pod_alone_has_nobody_to_be_compared_with() -> None:
    assert doubted(of(a_pod_that(0, offered=1e5))) == set()


UNEVEN = {
    "all of a service at its limit comes to one pod": [8.0, *[0.0] * 7],
    "a surge of which one pod gets ten times as much": [60.0, *[6.0] * 7],
    "one pod has just come": [*[2.0] * 7, 0.0],
    "two pods, and all comes to one": [8.0, 0.0],
}


@pytest.mark.parametrize("offered", UNEVEN.values(), ids=UNEVEN)
def test_requests_that_are_spread_unevenly_are_no_lie(offered: list[float]) -> None:
    assert doubted(of(*(a_pod_that(number, rate) for number, rate in enumerate(offered)))) == set()


def test_one_large_request_in_a_quiet_service_is_no_lie() -> None:
    """Four images within six seconds, where a GPU does one in half a minute and nothing else comes."""
    quiet = [a_pod_that(number, offered=0.0, busy=0.0, span=Seconds(6.0)) for number in range(3)]
    seen = of(a_pod_that(3, offered=4.0 / 6.0, span=Seconds(6.0)), *quiet)
    assert believed(seen, per_gpu=UnitsPerSecond(1 / 27)) is seen


@pytest.mark.parametrize(("still", "doubt"), [(STUCK - 0.1, False), (STUCK, True)])
def test_counters_that_stand_still_while_images_are_in_the_gpu_are_unknown(still: float, *, doubt: bool) -> None:
    stuck = a_pod_that(0, offered=0.0, busy=0.0, still=Seconds(still), in_flight=Units(1.0))
    seen = of(stuck, *(a_pod_that(number) for number in range(1, 8)))
    assert (doubted(seen) == {"pod-0"}) is doubt
    assert doubted(of(replace(stuck, in_flight=Units(0.0)))) == set(), "an idle pod has nothing to count"


def test_of_two_pods_a_stuck_one_does_not_make_the_other_unknown() -> None:
    assert doubted(of(a_pod_that(0, still=Seconds(9.0)), a_pod_that(1))) == {"pod-0"}


def beside(used: float, still: float, age: float = 5.0, **changes: Any) -> Snapshot:
    """A service on one node of eight GPUs, whose agents tell of nothing, and what the platform sees there."""
    node = a_node("own", "inference", pods=changes.pop("pods", ()))
    loads = [
        replace(
            a_pod_that(number, offered=0.0, busy=0.0, still=Seconds(still), in_flight=Units(0.0)),
            node=NodeName("own"),
            gpus=Gpus(4),
        )
        for number in range(2)
    ]
    reading = Reading(signal="use", value=used, age=Seconds(age), by_node={NodeName("own"): used})
    return of(*loads, readings=(reading,), pools=assign([a_pool("inference")], [node]), **changes)


OTHERS: dict[str, Any] = {"pods": (a_pod("other", gpus=Gpus(4)), a_pod("another", gpus=Gpus(3)))}
STANDING_STILL = {
    "GPUs at work, long after the last count": (beside(98.0, SETTLED + 6.0), True),
    "what the platform says may still be of before": (beside(98.0, SETTLED + 4.0), False),
    "idle GPUs": (beside(10.0, SETTLED + 6.0), False),
    "what is stale is not known": (beside(98.0, 1e4, age=3600.0), False),
    "measured after the agents answered: work may have come": (beside(98.0, 1e4, age=0.1), False),
    "others' pods are at work there": (beside(98.0, SETTLED + 6.0, **OTHERS), False),
}


@pytest.mark.parametrize(("seen", "doubt"), STANDING_STILL.values(), ids=STANDING_STILL)
def test_counters_that_stand_still_beside_busy_gpus_are_unknown(seen: Snapshot, *, doubt: bool) -> None:
    assert bool(doubted(seen)) is doubt


def test_a_pod_that_has_done_what_no_gpu_can_do_teaches_nothing() -> None:
    liar = a_pod_that(0, done=UnitsPerSecond(1e5))
    assert doubted(of(liar, *(a_pod_that(number) for number in range(1, 8)))) == {"pod-0"}
    model = {PodUid(f"pod-{number}"): "L4" if number == 0 else "H100" for number in range(8)}
    assert doubted(of(liar, *(a_pod_that(number) for number in range(1, 8)), models=model)) == set(), "of its model"


def test_a_revision_that_is_ten_times_as_fast_is_believed() -> None:
    fast = a_pod_that(0, done=UnitsPerSecond(7.5))
    assert doubted(of(fast, *(a_pod_that(number) for number in range(1, 8)))) == set()


def test_the_loudest_pod_is_heard_as_the_second_loudest() -> None:
    minute = Told(span=Seconds(60.0), offered=Units(600.0), done=Units(45.0), busy=Seconds(45.0))
    usual = replace(minute, offered=Units(45.0))
    loud = [a_pod_that(0, minute=minute), *(a_pod_that(number, minute=usual) for number in range(1, 8))]
    assert agreed_share(loud) * (10.0 + 7 * 0.75) == pytest.approx(8 * 0.75 + 8.0 / 60.0)
    assert agreed_share(loud[1:]) == 1.0
    assert agreed_share(loud[:1]) == 1.0, "one alone has nobody beside it"
    assert agreed_share([]) == 1.0


def test_the_quietest_pod_is_heard_as_the_second_quietest() -> None:
    """A pod that stands by for long hides no demand of others; one that is quiet by lie hides none of its own."""
    pods = [a_pod_that(0, 0.0), *(a_pod_that(number) for number in range(1, 8))]
    assert unheard_share(pods) * 7 * 0.75 == pytest.approx(8 * 0.75)
    assert unheard_share(pods[1:]) == pytest.approx(1.0)
    assert unheard_share(pods[:1]) == unheard_share([]) == 1.0


@given(honest=st.lists(st.floats(0.1, 3.0), min_size=2, max_size=12), lie=st.floats(0.0, 1.0))
def test_no_silence_of_one_agent_hides_more_than_it_has_beyond_the_quietest_other(
    honest: list[float], lie: float
) -> None:
    pods = [a_pod_that(number, rate) for number, rate in enumerate(honest)]
    quiet = [replace(a_pod_that(0, lie * honest[0])), *pods[1:]]
    told = sum(load.told.offered / load.told.span for load in quiet)
    assert told * unheard_share(quiet) >= sum(honest[1:]) + min(honest) - 1e-9


def test_before_it_is_known_what_a_gpu_does_nobody_can_say_what_is_too_much() -> None:
    """All of a new service may come to one of its two pods: from this one it is learned."""
    seen = of(a_pod_that(0, offered=9.0), a_pod_that(1, offered=0.0))
    assert believed(seen, per_gpu=None) is seen
    absurd = of(a_pod_that(0, offered=1e5), *(a_pod_that(number) for number in range(1, 8)))
    assert len(believed(absurd, per_gpu=None).believed) == 7


def test_a_pod_that_is_not_ready_may_lie_too() -> None:
    """What it is offered counts as demand, so it is weighed like the others."""
    seen = of(*usual_pods(8), unready=(a_pod_that(9, offered=1e5), a_pod_that(10)), unready_pods=2)
    found = believed(seen)
    assert [load.pod for load in found.overloaded] == ["pod-10"]
    assert doubts_in_words(found)[0].startswith("serving/image-gen-9 tells of 1e+05 units")


@settings(max_examples=60, deadline=None)
@given(
    honest=st.lists(st.floats(0.0, 3.0), min_size=2, max_size=12),
    lie=st.floats(0.0, 1e9),
)
def test_no_lie_of_one_agent_adds_more_than_the_loudest_honest_one_tells(honest: list[float], lie: float) -> None:
    """What is left of the demand with a liar: that of the others, and of one more like the loudest of them, at most."""
    pods = [a_pod_that(number, rate, span=Seconds(6.0)) for number, rate in enumerate(honest)]
    liar = a_pod_that(99, lie, span=Seconds(6.0))
    found = believed(of(liar, *pods)).believed
    told = sum(load.told.offered / load.told.span for load in found)
    assert told * agreed_share(found) <= sum(honest) + max(honest) + 8.0 / 6.0 + 1e-9 * lie


@given(offered=st.floats(0.1, 1e4), count=st.integers(1, 60))
def test_a_surge_that_every_pod_tells_of_is_believed_whole(offered: float, count: int) -> None:
    seen = of(*(a_pod_that(number, offered, busy=1.0, done=A_GPU) for number in range(count)))
    assert believed(seen) is seen
    assert agreed_share(seen.loads) == 1.0


def test_pods_without_a_name_are_told_by_their_uid() -> None:
    seen = believed(of(replace(a_pod_that(0), name="", pod=PodUid("uid-0"), still=Seconds(4.0)), a_pod_that(1)))
    assert doubts_in_words(seen) == ("uid-0 has images in its GPUs and has counted nothing for 4 s",)
