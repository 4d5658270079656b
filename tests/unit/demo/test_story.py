"""The story's steps: when, at which level, and why, in the operator's words."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.units import Instant
from meltguard.demo.checker import check
from meltguard.demo.story import level_at, story
from support.demo_runs import START, a_good_run, facts

RUN = a_good_run()
FOUND = check(RUN)
STEPS: dict[str, dict[str, Any]] = {step["step"]: step for step in story(FOUND, facts(RUN))}
WHY = {
    "the GPUs cannot keep up: work queues beyond the wait target": "demand 1.10 of capacity",
    "the new feature is slowed": "leaves feature edit to 50% of users",
    "updates of the service are held": "level Elevated holds updates",
    "the free tier is limited on the serving pods": "tier free: Delay at 12/m; demand 4.00/s",
    "a developer ships a version all the same: it waits": "the image becomes image-gen:3.3",
    "it is tried on one pod: does it make images cheaper?": "one pod is to run the update",
    "an idle research node is claimed": (
        "for serving/image-gen; it goes home once the service stays calm without it, at 1970-01-01T01:00:00Z"
        " at the latest: it relieves 1 of 2 missing GPUs (50%) and is idle"
    ),
    "it is schedulable for inference": "c is lent by research",
    "it serves images": "15 s after its claim",
    "training that was told saves its work and leaves": "breaks off Job research/tune, 0.2 GPU-hours of unsaved work",
    "its node is schedulable for inference": "d is lent by research",
    "a person suspends the free tier for a while": "free: Suspend; override: keynote (ann)",
    "that override ends by itself": "its time is over",
    "the operator is killed": "SIGKILL",
    "another term goes on where it stopped": "nodes: 2 borrowed",
    "the limits are lifted": "tier free is open again",
    "the new feature is whole again": "back at 100% of users",
    "updates go on, and the shipped version runs": "updates of the service go on",
    "every node is home": "the service stayed calm for 10 s",
    "a badly cooled GPU counts for less": "88 C",
    "a slow pod, which no sensor shows, has taken less work than its peers until now": "it took 6, a peer 10",
}


@pytest.mark.parametrize(("step", "words"), WHY.items(), ids=WHY)
def test_a_step_says_why(step: str, words: str) -> None:
    assert words in STEPS[step]["why"]


def test_every_step_is_told_with_its_level_and_reason() -> None:
    assert all(step["done"] and step["level"] for step in STEPS.values())
    assert all(step["why"] for step in STEPS.values())
    assert STEPS.keys() == WHY.keys()


def test_steps_have_the_level_of_their_moment() -> None:
    assert STEPS["the new feature is slowed"]["level"] == "Elevated"
    assert STEPS["a person suspends the free tier for a while"]["level"] == "Overloaded"
    assert STEPS["every node is home"]["level"] == "Normal"
    assert level_at(FOUND.statuses, Instant(START - 5.0)) is None


def test_a_step_that_did_not_happen_has_neither_time_nor_reason() -> None:
    run = replace(RUN, writes=(), glimpses=(), slow_pod=None)
    steps = {step["step"]: step for step in story(check(run), replace(facts(run), acts=()))}

    for name in ("an idle research node is claimed", "the operator is killed", "a badly cooled GPU counts for less"):
        assert steps[name] == {"step": name, "done": False, "at": None, "level": None, "why": ""}
