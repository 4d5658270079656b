"""The outcome in five lines."""

from dataclasses import replace

from meltguard.demo.check.evidence import Evidence
from meltguard.demo.checker import check
from meltguard.demo.outcome import outcome
from support.demo_evidence import refused
from support.demo_runs import START, a_good_run, facts

RUN = a_good_run()


def told(run: Evidence = RUN) -> dict[str, str]:
    return dict(outcome(check(run), facts(run)))


def test_it_is_five_lines_in_the_order_in_which_they_are_asked_for() -> None:
    assert list(told()) == ["the surge", "the users", "the loans", "research", "a person, a crash"]


def test_the_surge_is_what_was_asked_for_against_what_the_gpus_did() -> None:
    assert "240 image units a minute, 2.0 times the 120" in told()["the surge"]


def test_each_tier_is_told_with_what_it_got_and_waited() -> None:
    lines = told()["the users"].splitlines()

    assert lines[0] == "pro got 27 of 27 requests (100%); 99 of 100 of those waited at most 0.0 s"
    assert lines[2] == (
        "free got 18 of 19 requests (95%); 99 of 100 of those waited at most 4.0 s; refused: 1 over the tier's limit"
    )


def test_loans_are_told_with_their_nodes_and_their_return() -> None:
    said = told()["the loans"]

    assert "c at 10 s, idle, open after 8 s" in said
    assert "d at 27 s, its work moved out, open after 19 s" in said
    assert "all were home at 92 s, with labels, taints and cordon as they were" in said


def test_research_is_told_with_what_it_lost() -> None:
    assert told()["research"] == (
        "1 pod was evicted (Job research/tune), told before, and 1 of 1 had saved by then what was at stake "
        "(0.25 GPU-hours); it never had fewer than 2 nodes ready, its floor is 2"
    )


def test_the_person_and_the_crash_are_told_with_what_they_changed() -> None:
    shed = tuple(refused(START + 31 + i, "tier-suspended") for i in range(3))
    said = told(replace(RUN, journals={**RUN.journals, "gpu-04": shed}))["a person, a crash"]

    assert "suspended the free tier for 16 s: 3 requests were refused for it" in said
    assert "killed at 47 s, its successor went on 3 s later" in said
    assert "level Overloaded, 1 loan before, level Overloaded, 1 loan after" in said


def test_a_run_in_which_nothing_happened_says_so() -> None:
    run = replace(RUN, writes=(), journals={})
    said = dict(outcome(check(run), replace(facts(run), acts=())))

    assert said["the loans"] == "no node was borrowed"
    assert said["a person, a crash"] == "nobody stepped in, nothing crashed"
    assert said["research"].startswith("no work was broken off")
