"""What is measured of a hot card and of a slow one."""

from dataclasses import replace

import pytest

from meltguard.core.units import Instant, Seconds
from meltguard.demo.check.cards import PodRef, hot_gpu, slow_pod
from support.demo_evidence import an_entry, refused
from support.demo_runs import SLOW_POD, START, glimpses, work_of

SINCE = Instant(START)


def test_a_hot_node_is_told_beside_the_others_and_since_when_it_counts_for_less() -> None:
    hot = hot_gpu(glimpses(), "gpu-02")

    assert hot is not None
    assert (hot.hottest, hot.others) == (88.0, 78.0)
    assert (hot.counted, hot.others_counted) == (0.75, 1.0)
    assert hot.since == START + 15


def test_a_hot_node_that_counts_in_full_has_no_moment() -> None:
    hot = hot_gpu([replace(one, counted=None if one.at > START else one.counted) for one in glimpses()], "gpu-02")

    assert hot is not None
    assert hot.since is None


def test_a_node_that_nobody_saw_is_not_made_up() -> None:
    assert hot_gpu(glimpses(), "gpu-09") is None
    assert hot_gpu((), "gpu-02") is None


def test_a_slow_pod_is_told_beside_the_median_of_its_peers() -> None:
    entries = [*work_of("s1", 6, 3.4), *work_of("p2", 10, 2.0), *work_of("p3", 12, 2.0), *work_of("p4", 11, 2.0)]
    slow = slow_pod(entries, SLOW_POD, SINCE)

    assert slow is not None
    assert slow.pace == pytest.approx(60.0 / 3.4)
    assert slow.peers_pace == pytest.approx(30.0)
    assert slow.pace_share == pytest.approx(2.0 / 3.4)
    assert slow.requests == 6
    assert slow.work_share < 0.7


def test_one_very_long_request_of_many_is_not_a_pods_pace() -> None:
    """Recorded durations have such: one of seven minutes among those of a half."""
    steady = [*work_of("s1", 20, 3.4), *work_of("p2", 20, 2.0)]
    quick = slow_pod([*steady, an_entry(START + 9, pod="p2", took=Seconds(40.0))], SLOW_POD, SINCE)

    assert quick is not None
    assert quick.pace_share < 0.75


def test_what_came_before_the_surge_after_the_pods_end_or_was_refused_does_not_count() -> None:
    entries = [
        an_entry(START - 5, pod="s1"),
        an_entry(START + 5, pod="s1"),
        refused(START + 5, "over-rate", pod="s1"),
        an_entry(START + 4, pod="p2"),
        an_entry(START + 50, pod="p2", took=Seconds(9.0)),
    ]
    slow = slow_pod(entries, SLOW_POD, SINCE)

    assert slow is not None
    assert (slow.requests, slow.peers_requests, slow.until) == (1, 1, START + 5)


def test_a_pod_without_work_or_without_peers_is_not_compared() -> None:
    assert slow_pod(work_of("p2", 3, 2.0), SLOW_POD, SINCE) is None
    assert slow_pod(work_of("s1", 3, 2.0), PodRef(node="gpu-03", name="x", uid="s1"), SINCE) is None
