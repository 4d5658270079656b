import asyncio
from dataclasses import replace

from meltguard.adapters.event_shape import EventRecord, ObjectRef
from meltguard.controller.events import Reason
from meltguard.core.decide import decide
from meltguard.core.decision import Decision, Outcome
from meltguard.core.memory import Memory
from meltguard.core.policy import Level
from meltguard.core.units import Instant, Seconds
from meltguard.rehearse.clock import RehearsedClock
from meltguard.rehearse.story import Story, first
from support.core_values import FREE, a_policy, a_snapshot

NODE = ObjectRef(api_version="v1", kind="Node", name="gpu-1", uid="gpu-1")


def a_story(at: float = 7.0) -> Story:
    return Story(RehearsedClock(Instant(0.0), Seconds(at)))


def a_decision() -> Decision:
    return decide(a_policy(), Memory(), a_snapshot({FREE: 1.0}), Instant(1_000.0))


def say(story: Story, reason: Reason) -> None:
    record = EventRecord(regarding=NODE, reason=reason.value, message="so it is", action="Borrow")
    posted = asyncio.run(story.post_event(record))
    assert asyncio.run(story.post_event(record, posted)).count == 2


def test_what_the_mover_says_twice_is_told_once_and_in_its_words() -> None:
    story = a_story()
    say(story, Reason.NODE_LENT)
    assert [(one.at, one.reason, one.text) for one in story.told] == [(7.0, Reason.NODE_LENT, "so it is")]


def test_what_each_pod_is_told_is_left_out() -> None:
    story = a_story()
    say(story, Reason.EVICTION_NOTICE)
    assert story.told == []


def test_a_change_of_level_is_told_with_the_decisions_reason() -> None:
    story, calm = a_story(), a_decision()
    story.decided(calm, 0)
    story.decided(replace(calm, level=Level.OVERLOADED, why="wait 9 s"), 0)
    [told] = [one for one in story.told if one.reason is Reason.LEVEL_CHANGED]
    assert told.text.startswith("Normal to Overloaded: wait 9 s")
    assert told.level is Level.OVERLOADED
    assert first(story.told, Reason.LEVEL_CHANGED) == 7.0
    assert first(story.told, Reason.NODE_LENT) is None


def test_a_loan_that_a_rule_refuses_is_told_once_a_rule() -> None:
    story, calm = a_story(), a_decision()
    refused = replace(calm, rules=(Outcome(rule="platform confirms", holds=False, text="too cool"),))
    other = replace(calm, rules=(Outcome(rule="loans serve", holds=False, text="no agent answers"),))
    for decision in (refused, refused, replace(calm, rules=()), refused, other):
        story.decided(decision, 0)
    said = [one.text for one in story.told if one.reason is Reason.BORROWING_REFUSED]
    assert said == ["platform confirms: no, too cool", "loans serve: no, no agent answers"]
    story.decided(refused, 1)  # with a loan out the rest is the policy's own matter
    assert len(story.told) == 2
