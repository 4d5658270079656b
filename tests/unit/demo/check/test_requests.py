"""Each promise about requests, kept and broken."""

from typing import Any

import pytest

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Instant, Seconds, Share
from meltguard.demo.check.requests import (
    by_tier,
    first_admitted,
    free_over_quota,
    limited_span,
    most_turns_a_minute,
    overload_seen,
    paid_shed,
    unlike,
)
from meltguard.demo.records import Result, Turned
from support.demo_evidence import an_entry, refused

FLOOR = Share(0.02)
NOON = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 43_200


def plus(at: float, **changes: Any) -> JournalEntry:
    return an_entry(at, tier="plus", user="plus-1", **changes)


def result(images: int, status: int = 200, **changes: Any) -> Result:
    fields = {"key": "k", "user": "u", "tier": "free", "scheduled": 0.0, "lag": 0.0, "tries": 1, **changes}
    return Result(images=images, status=status, **fields)


def turned_away(at: float, reason: str, tier: str = "plus", passed_on: bool = False) -> Result:  # noqa: FBT001, FBT002 - a state
    return result(1, 200 if passed_on else 503, tier=tier, turned=(Turned(at=at, reason=reason, passed_on=passed_on),))


def test_three_images_a_day_are_within_the_quota() -> None:
    entries = [an_entry(NOON, images=2), an_entry(NOON + 1), an_entry(NOON + 2, images=3, delivered=False)]

    assert free_over_quota(entries) == ()


def test_a_fourth_image_is_found() -> None:
    assert len(free_over_quota([an_entry(NOON, images=3), an_entry(NOON + 1)])) == 1


def test_images_that_were_blocked_do_not_count() -> None:
    assert free_over_quota([an_entry(NOON, images=3, made=1), an_entry(NOON + 1, images=2)]) == ()


def test_a_new_utc_day_starts_anew() -> None:
    assert free_over_quota([an_entry(NOON, images=3), an_entry(NOON + 43_200, images=3)]) == ()


def test_plus_has_no_daily_quota() -> None:
    assert free_over_quota([an_entry(NOON, tier="plus", images=8)]) == ()


def busy_second(free: int, paid: int) -> list[JournalEntry]:
    return [*(an_entry(100.1) for _ in range(free)), *(plus(100.2) for _ in range(paid))]


@pytest.mark.parametrize("reason", ["over-rate", "queue-full", "wait-too-long", "waited-out", "tier-suspended"])
def test_a_paid_refusal_while_free_has_more_than_its_floor_is_found(reason: str) -> None:
    assert len(paid_shed(busy_second(3, 10), [turned_away(100.5, reason)], FLOOR)) == 1


def test_a_paid_refusal_while_free_has_its_floor_is_allowed() -> None:
    assert paid_shed(busy_second(1, 10), [turned_away(100.5, "queue-full")], FLOOR) == ()


@pytest.mark.parametrize("reason", ["daily-quota", "own-maximum", "agent-stopping", "duplicate-request"])
def test_a_paid_refusal_that_is_not_for_capacity_is_allowed(reason: str) -> None:
    assert paid_shed(busy_second(3, 10), [turned_away(100.5, reason)], FLOOR) == ()


def test_what_another_pod_took_at_once_nobody_was_refused() -> None:
    assert paid_shed(busy_second(3, 10), [turned_away(100.5, "waited-out", passed_on=True)], FLOOR) == ()


def test_a_free_user_who_is_refused_is_no_paid_one() -> None:
    assert paid_shed(busy_second(3, 10), [turned_away(100.5, "over-rate", tier="free")], FLOOR) == ()


def test_what_waited_counts_when_it_was_decided() -> None:
    early = [an_entry(97.0, wait=Seconds(3.5)) for _ in range(3)]

    assert len(paid_shed([*early, *busy_second(0, 10)], [turned_away(100.6, "waited-out")], FLOOR)) == 1


def test_a_tiers_figures_add_up() -> None:
    entries = [
        an_entry(1.0),
        an_entry(2.0, wait=Seconds(1.5)),
        refused(3.0, "over-rate"),
        an_entry(4.0, verdict="gone"),
    ]

    figures = by_tier(entries, [])["free"]

    assert (figures.offered, figures.admitted, figures.waited, figures.refused) == (4, 2, 1, 1)
    assert figures.refused_for == {"over-rate": 1}
    assert (figures.wait_p50, figures.wait_p99) == (0.0, 1.5)


def test_what_one_pod_passed_on_counts_at_the_other() -> None:
    entries = [an_entry(1.0), refused(2.0, "wait-too-long"), refused(3.0, "wait-too-long"), an_entry(3.1)]
    results = [turned_away(2.0, "wait-too-long", "free"), turned_away(3.0, "wait-too-long", "free", passed_on=True)]

    figures = by_tier(entries, results)["free"]

    assert (figures.offered, figures.admitted, figures.refused_for) == (3, 2, {"wait-too-long": 1})


def test_images_that_no_agent_delivered_are_found() -> None:
    assert unlike([an_entry(1.0, images=2)], [result(2)]) == ()
    assert unlike([an_entry(1.0, images=2)], [result(2), result(1, status=503)]) == ()
    assert len(unlike([an_entry(1.0, images=2)], [result(3)])) == 1
    assert len(unlike([an_entry(1.0, verdict="lost")], [])) == 1


def test_refusals_that_no_agent_wrote_down_are_found() -> None:
    told = [turned_away(2.0, "over-rate")]
    assert unlike([refused(2.0, "over-rate")], told) == ()
    assert len(unlike([], told)) == 1
    assert unlike([], [turned_away(2.0, "")]) == ()  # of the image server's own


def test_the_span_of_a_limit_is_told_by_the_free_tiers_decisions() -> None:
    limited: dict[str, Any] = {"state": "Delay", "rate": 0.4}
    entries = [an_entry(1.0), an_entry(2.0, **limited), an_entry(5.0, **limited), an_entry(9.0)]

    assert limited_span(entries) == (2.0, 5.0)
    assert limited_span([an_entry(1.0), an_entry(2.0, state="Delay", rate=0.4, source="Baseline")]) is None


def test_an_overload_shows_where_the_queues_mean_a_long_wait() -> None:
    served = [an_entry(i, took=Seconds(2.0)) for i in range(10)]  # 2 GPUs give one unit a second
    blip = [an_entry(20.0, units=9.0, wait=Seconds(0.5), delivered=False), an_entry(30.0, wait=Seconds(0.1))]
    queued = [an_entry(20.0 + i, wait=Seconds(30.0), delivered=False) for i in range(5)]

    assert overload_seen([*served, *queued], gpus=2, wait_target=Seconds(3.0)) == 23.0
    assert overload_seen([*served, *blip], gpus=2, wait_target=Seconds(3.0)) is None
    assert overload_seen(served, gpus=2, wait_target=Seconds(3.0)) is None
    assert overload_seen([], gpus=2, wait_target=Seconds(3.0)) is None


def series(*rates: float) -> list[tuple[Instant, float]]:
    return [(Instant(10.0 * i), rate) for i, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("rates", "turns"),
    [((10, 5, 5, 6, 7), 1), ((10, 9, 8), 0), ((10, 5, 10, 5, 10), 3), ((10, 10.2, 10, 10.2), 0), ((), 0), ((0, 0), 0)],
)
def test_turns_of_a_limit_are_counted_and_noise_is_not(rates: tuple[float, ...], turns: int) -> None:
    assert most_turns_a_minute(series(*rates)) == turns


def test_turns_further_apart_than_a_minute_are_not_added() -> None:
    rates = [(Instant(at), rate) for at, rate in ((0.0, 10.0), (50.0, 5.0), (100.0, 10.0), (170.0, 5.0))]

    assert most_turns_a_minute(rates) == 1


def test_a_nodes_first_request_is_found() -> None:
    entries = [an_entry(5.0), an_entry(3.0, verdict="refused"), an_entry(9.0, pod="p2"), an_entry(7.0, pod="p9")]

    assert first_admitted(entries, {"p1": "gpu-04", "p2": "gpu-05"}) == {"gpu-04": 5.0, "gpu-05": 9.0}
