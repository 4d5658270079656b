from dataclasses import replace
from io import StringIO

from meltguard.rehearse.figures import figures_of
from meltguard.rehearse.rehearsal import Rehearsal
from meltguard.rehearse.words import MOST_LINES, console_for, outcome, printed


def text_of(*rehearsals: Rehearsal) -> str:
    stream = StringIO()
    printed([(one, figures_of(one)) for one in rehearsals], console_for(stream))
    return stream.getvalue()


def test_a_stranger_reads_who_stands_where_what_happened_and_what_it_came_to(surged: Rehearsal) -> None:
    text = text_of(surged)
    for part in (
        "Rehearsal of policy serving/image-gen: nothing is applied anywhere",
        "pool research: 3 nodes of 8 GPUs; lends at most 2, busy nodes too, and keeps 1; at work: train on 2",
        "times the 1.33 that its GPUs do",
        "research-01 is lent by research to inference",
        "requests by tier",
        "lenders' unsaved work lost",
    ):
        assert part in text


def test_a_calm_rehearsal_says_that_nothing_happened(surged: Rehearsal) -> None:
    assert "the service stayed calm" in text_of(replace(surged, told=[]))


def test_a_long_story_is_cut_in_its_middle(surged: Rehearsal) -> None:
    long = replace(surged, told=[replace(surged.told[0], at=float(at)) for at in range(100)])
    text = text_of(long)
    assert f"{100 - MOST_LINES} more; -o json has all of them" in text
    assert "0:00:44" in text
    assert "0:00:50" not in text
    assert "0:01:39" in text


def test_several_policies_are_set_side_by_side_without_their_stories(surged: Rehearsal) -> None:
    other = replace(surged, plan=replace(surged.plan, manifests=replace(surged.plan.manifests, name="other.yaml")))
    text = text_of(surged, other)
    assert "all.yaml" in text
    assert "other.yaml" in text
    assert "free: shed" in text
    assert "What happened" not in text


def test_a_broken_limit_is_named_with_its_policy() -> None:
    stream = StringIO()
    outcome("all.yaml", ("pro.p99>1: it is 2",), console_for(stream))
    assert stream.getvalue() == "failed  all.yaml: pro.p99>1: it is 2\n"
