"""Lanes, numbers and key, from a whole made-up run."""

from dataclasses import replace
from itertools import pairwise

import pytest

from meltguard.core.loan_words import gone_words, home_words
from meltguard.core.units import Instant, NodeName, PoolName
from meltguard.demo.check.decisions import Decided
from meltguard.demo.checker import check
from meltguard.demo.lanes import OTHER, PEOPLE, Lane, decisions_of, key, lane_of, short, spread
from support.demo_runs import TOLD_SO, a_good_run, facts

RUN = a_good_run()
NODE, RESEARCH = NodeName("gpu-10"), PoolName("research")
MADE = decisions_of(check(RUN), facts(RUN), until=95.0)


def lane(name: str) -> Lane:
    return next(lane for lane in MADE.lanes if lane.name == name)


def decided(reason: str, text: str) -> Decided:
    return Decided(at=Instant(0.0), reason=reason, text=text, level="Elevated")


def test_every_decision_and_every_act_has_a_number_in_the_order_of_time() -> None:
    acts = 2  # a version is shipped, the operator is killed; the override is a decision

    assert [mark.number for mark in MADE.marks] == list(range(1, len(TOLD_SO) + acts + 1))
    assert all(earlier.at <= later.at for earlier, later in pairwise(MADE.marks))


def test_every_number_is_on_a_lane_that_is_drawn() -> None:
    assert {mark.lane for mark in MADE.marks} <= {lane.name for lane in MADE.lanes}


def test_lanes_say_what_held_when() -> None:
    levels = [(span.label, span.begin, span.end) for span in lane("level").spans]
    states = [span.label for span in lane("free tier").spans]

    assert levels == [
        ("Normal", 1.0, 9.0),
        ("Elevated", 9.0, 20.0),
        ("Overloaded", 20.0, 55.0),
        ("Elevated", 55.0, 60.0),
        ("Normal", 60.0, 95.0),
    ]
    assert states == ["Open", "Delay", "Reject", "Suspend", "Reject", "Open"]
    assert [span.label for span in lane("updates").spans if span.label != "held"] == [
        "free",
        "tried on one pod",
        "free",
    ]
    assert [span.label for span in lane("feature").spans] == ["100%", "50%", "100%"]
    assert "free: Suspend" in [span.label for span in lane(PEOPLE).spans]


def test_other_news_has_a_lane_where_there_is_some() -> None:
    found = check(RUN)
    more = replace(found, decisions=(*found.decisions, decided("MetricsUnknown", "temperature is unknown")))

    assert OTHER not in {lane.name for lane in MADE.lanes}
    assert OTHER in {lane.name for lane in decisions_of(more, facts(RUN), until=95.0).lanes}


def test_a_loan_is_on_its_nodes_lane_from_the_claim_to_the_release() -> None:
    told = [(span.label, span.begin, span.end) for span in lane("c").spans]

    assert told == [("arriving", 10.0, 18.0), ("lent", 18.0, 86.0), ("going home", 86.0, 90.0)]


@pytest.mark.parametrize(
    ("reason", "text", "name"),
    [
        ("LevelChanged", "Normal to Elevated: x", "level"),
        ("TierLimited", "tier free: Delay at 12/m; x", "free tier"),
        ("TierLifted", "tier plus is open again", "plus tier"),
        ("FeatureSlowed", "level Elevated leaves feature edit to 50%", "feature"),
        ("RolloutHeld", "level Elevated holds updates", "updates"),
        ("UpdateTried", "level Elevated holds updates; one pod", "updates"),
        ("OverrideEnded", "free: Suspend: its time is over", PEOPLE),
        ("NodeBorrowed", "gpu-10 is borrowed from research for a/b", "gpu-10"),
        ("NodeRecalled", "gpu-10 goes home to research: calm", "gpu-10"),
        ("NodeReturned", home_words(NODE, RESEARCH), "gpu-10"),
        ("LoanEnded", gone_words(NODE, RESEARCH), "gpu-10"),
        ("MetricsUnknown", "temperature is unknown", OTHER),
        ("NodesOrdered", "2 nodes are ordered", OTHER),
    ],
)
def test_a_decision_is_on_the_lane_of_what_it_is_about(reason: str, text: str, name: str) -> None:
    assert lane_of(decided(reason, text)) == name


def test_the_key_says_what_and_why_in_short() -> None:
    limited = decided("TierLimited", "tier free: Delay at 12/m; demand is more than the GPUs'; it lifts when it falls")
    rose = decided("LevelChanged", "Normal to Elevated: Elevated: wait 2.49 s; image-edit for 50% of users")

    assert short(limited) == "tier free: Delay at 12/m; demand is more than the GPUs'"
    assert short(rose) == "level Normal to Elevated: Elevated: wait 2.49 s"


def test_the_key_has_a_line_for_every_number() -> None:
    left, right = key(MADE.marks)
    lines = [*left.splitlines(), *right.splitlines()]

    assert [int(line.split()[0]) for line in lines] == [mark.number for mark in MADE.marks]
    assert any("relieves 1 of 2 missing GPUs" in line for line in lines)
    assert any("operator killed: its process gets SIGKILL" in line for line in lines)
    assert max(map(len, lines)) <= 120  # half of 1,600 pixels holds no more


def test_numbers_of_one_moment_do_not_cover_one_another() -> None:
    places = spread([5.0, 5.0, 5.0, 5.5, 30.0], 2.0)

    assert places == [5.0, 7.0, 9.0, 11.0, 30.0]
