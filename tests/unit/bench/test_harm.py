"""The replay behind `make bench-harm`: jobs on nodes, and what each way to choose really costs."""

import random

import pytest

from bench.bench_harm import Case, compare, rows
from bench.jobs_replay import Cluster, Job, Running, moments
from bench.victims_compared import (
    Checkpoints,
    Moment,
    at_random,
    harm_of,
    least_harm,
    newest_first,
    newest_node_first,
    one_node_at_best,
)

HOUR = 3600.0


def a_job(number: int, submitted: float, hours: float, gpus: int = 8) -> Job:
    return Job(number=number, submitted=submitted, seconds=hours * HOUR, gpus=gpus)


def on(number: int, started_hours_ago: float, *parts: tuple[int, int]) -> Running:
    """A job that runs now, at second 1,000,000."""
    job = a_job(number, 0.0, 1e6, sum(gpus for _, gpus in parts))
    return Running(job=job, started=1e6 - started_hours_ago * HOUR, parts=parts)


def asked(running: list[Running], wanted: int, checkpoints: Checkpoints = Checkpoints.NOBODY, nodes: int = 3) -> Moment:
    return Moment(at=1e6, nodes=nodes, running=running, wanted=wanted, checkpoints=checkpoints)


def test_jobs_stand_on_the_fullest_node_that_has_room_and_gangs_on_empty_ones() -> None:
    cluster = Cluster(4)
    for number, gpus in enumerate([4, 2, 12, 1]):
        cluster.submit(a_job(number, 0.0, 1.0, gpus))
    assert [one.parts for one in cluster.running.values()] == [((0, 4),), ((0, 2),), ((1, 8), (2, 4)), ((0, 1),)]
    assert cluster.free == [1, 0, 4, 8]


def test_who_does_not_fit_waits_and_lets_others_pass() -> None:
    cluster = Cluster(1)
    for number, gpus in enumerate([6, 4, 2]):
        cluster.submit(a_job(number, 0.0, 1.0 + number, gpus))
    assert sorted(cluster.running) == [0, 2]
    cluster.finish(HOUR)
    assert sorted(cluster.running) == [1, 2]
    assert cluster.running[1].started == HOUR
    cluster.finish(10 * HOUR)
    assert cluster.free == [8]


def test_moments_begin_on_the_second_day_and_show_what_runs_then() -> None:
    day = 86_400.0
    jobs = [a_job(0, 0.0, 48.0), a_job(1, day - 10, 1.0), a_job(2, day + 2 * HOUR, 1.0)]
    seen = [(at, sorted(one.job.number for one in running)) for at, running in moments(jobs, 4, HOUR)]
    assert seen == [(day, [0, 1]), (day + HOUR, [0]), (day + 2 * HOUR, [0])]


def test_harm_is_counted_from_the_jobs_and_each_job_once() -> None:
    moment = asked([on(1, 2.0, (0, 8), (1, 4)), on(2, 5.0, (1, 4))], 2)
    assert harm_of(moment, {0}).gpu_hours == pytest.approx(24.0)
    assert harm_of(moment, {0, 1}).gpu_hours == pytest.approx(44.0)
    assert harm_of(moment, {0, 1}).jobs == 2


def test_checkpoints_are_hourly_since_the_start_for_those_who_report() -> None:
    running = [on(1, 2.25, (0, 8)), on(2, 2.25, (1, 8))]
    costs = {who: [harm_of(asked(running, 1, who), {node}).gpu_hours for node in (0, 1)] for who in Checkpoints}
    assert costs[Checkpoints.NOBODY] == pytest.approx([18.0, 18.0])
    assert costs[Checkpoints.HALF] == pytest.approx([18.0, 2.0])
    assert costs[Checkpoints.EVERYBODY] == pytest.approx([2.0, 2.0])


MIXED = [on(1, 0.1, (0, 1)), on(2, 90.0, (0, 1)), on(3, 1.0, (1, 8)), on(4, 2.0, (2, 1))]


def test_each_way_chooses_as_it_is_called() -> None:
    moment = asked(MIXED, 1)
    assert newest_node_first(moment) == {0}  # its newest job is the newest of all
    assert newest_first(moment) == {1}  # the first node that is free when jobs go newest first; job 1 is spared
    assert least_harm(moment) == one_node_at_best(moment) == {2}
    assert at_random(random.Random(1))(moment) <= {0, 1, 2}  # noqa: S311 - no secret depends on it


def test_idle_nodes_are_nobodys_victims() -> None:
    assert asked(MIXED, 1, nodes=4).short == 0
    assert asked(MIXED, 2, nodes=4).short == 1
    assert least_harm(asked(MIXED, 2, nodes=4)) == {2}


def test_rows_show_the_goal_and_whether_it_is_met() -> None:
    cases = [compare([(1e6, MIXED)], 3, (who, 1)) for who in Checkpoints]
    first = rows(cases)[0]
    assert [case.moments for case in cases] == [1, 1, 1]
    assert (first["name"], first["peer"], first["met"]) == ("gpuHoursLost (all cases)", "newest first", True)
    assert first["ratio"] == pytest.approx(first["value"] / first["peerValue"], abs=0.001)
    worse = [Case(checkpoints=Checkpoints.NOBODY, wanted=2, moments=1, sums=dict.fromkeys(cases[0].sums, (10.0, 1)))]
    assert not rows(worse)[0]["met"]
