"""The judge of `make bench-quota`: each broken promise is a row that is not met."""

from collections import Counter
from dataclasses import replace

import pytest

from bench.quota_campaign import Fault, Sums
from bench.quota_processes import Course, Shown
from bench.quota_rows import FAULTS, limit_rows, process_rows, rows
from bench.windows import Entered, Limited, Total
from meltguard.core.units import Seconds
from meltguard.demo.report import Row

KEPT = Limited(
    entered=[Entered(at=number / 10.0, units=1.0) for number in range(600)],
    totals=[Total(since=0.0, rate=10.0)],
    bursts=4.0,
    held_back=9,
)
BROKEN = replace(KEPT, totals=[Total(since=0.0, rate=9.0)])
COURSE = Course(seconds=1.0, faults=(Fault.KILL,), kills=2)


def good_sums(**changes: object) -> Sums:
    sums = Sums(asked=1_000_000, faults=Counter(FAULTS), limited=KEPT, pushes=40)
    for name, value in changes.items():
        setattr(sums, name, value)
    return sums


def good_shown(**changes: object) -> Shown:
    shown = Shown(kills=2, made_at_kills=3, faults=Counter((Fault.KILL,)), limited=KEPT)
    for name, value in changes.items():
        setattr(shown, name, value)
    return shown


def missed(found: list[Row]) -> set[str]:
    return {row.name for row in found if not row.met}


def test_a_run_that_kept_everything_misses_nothing() -> None:
    assert missed(rows(good_sums(), 500.0, Seconds(1.0))) == set()
    assert missed(process_rows(good_shown(), COURSE)) == set()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"limited": BROKEN}, "overLimitShareMax"),
        ({"limited": replace(KEPT, held_back=0)}, "limitHeldBack"),
        ({"limited": replace(KEPT, entered=())}, "limitedRequests"),
        ({"granted_after_flush": 1}, "grantsAfterAFlush"),
        ({"asked": 999_999}, "requests"),
        ({"faults": Counter(FAULTS[1:])}, "faults"),
        ({"pushes": 1}, "leasesPushed"),
    ],
)
def test_a_broken_promise_of_the_million_is_a_missed_row(changes: dict[str, object], name: str) -> None:
    assert missed(rows(good_sums(**changes), 500.0, Seconds(1.0))) == {name}


def test_an_image_over_quota_is_missed_beyond_those_in_flight_at_a_flush() -> None:
    over = {"images": Counter({("free-0", "ann"): 4})}
    assert missed(rows(good_sums(**over), 500.0, Seconds(1.0))) == {"usersOverQuota", "imagesOverQuota"}
    assert missed(rows(good_sums(**over, in_flight_at_flush=1), 500.0, Seconds(1.0))) == {"usersOverQuota"}
    four, one = Counter({("free-0", "ann"): 4}), Counter({("free-0", "ann"): 1})
    for had, cut in ((four, Counter()), (four, one), (one, Counter())):
        shown = {"made": four, "had": had, "cut": cut}
        assert missed(process_rows(good_shown(**shown), COURSE)) == {"processImagesOverQuota"}
        assert missed(process_rows(good_shown(**shown, in_flight_at_flush=1), COURSE)) == set()
    again = good_shown(made=four, had=one, cut=one)
    assert missed(process_rows(again, COURSE)) == set(), "what a kill cut off is made again"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"limited": BROKEN}, "processOverLimitShareMax"),
        ({"kills": 1}, "processKills"),
        ({"made_at_kills": 0}, "processImagesInTheMakingAtKills"),
        ({"granted_after_flush": 1}, "processGrantsAfterAFlush"),
        ({"faults": Counter[Fault]()}, "processFaults"),
    ],
)
def test_a_broken_promise_of_the_processes_is_a_missed_row(changes: dict[str, object], name: str) -> None:
    assert missed(process_rows(good_shown(**changes), COURSE)) == {name}


def test_the_share_of_a_run_over_its_limit_is_shown() -> None:
    share = limit_rows(BROKEN, "")[0]
    assert (share.name, share.met) == ("overLimitShareMax", False)
    assert share.value == pytest.approx(1.106, abs=0.01)
