"""What a policy's conditions say of agents that are not believed."""

from dataclasses import replace

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.controller.conditions import Pass, conditions
from meltguard.controller.enforcer import Enforcement
from meltguard.controller.marks import marks_of
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.memory import Memory
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, Revision, Seconds
from support.core_values import FREE, PLUS, a_policy, a_snapshot
from support.statuses import AT

DONE = Enforcement(revision=Revision(1), pods=8, acknowledged=8, laggards=(), stores={}, ack_times=())


def of(stuck: int) -> tuple[Snapshot, Decision]:
    """A service of eight pods, so many of which have counted nothing for a while although images are in their GPUs."""
    seen = a_snapshot({FREE: 3.0, PLUS: 1.0})
    loads = [
        replace(load, name=f"serving/image-gen-{number}", still=Seconds(9.0 if number < stuck else 0.0))
        for number, load in enumerate(seen.loads)
    ]
    seen = replace(seen, loads=tuple(loads))
    return seen, decide(a_policy(), Memory(), seen, Instant(1000.0))


def told(stuck: int) -> dict[str, Condition]:
    seen, decision = of(stuck)
    this = Pass(policy=a_policy(), generation=1, seen=seen, decision=decision, enforcement=DONE, now=AT)
    return {each.type: each for each in conditions(this)}


def test_agents_that_are_believed_are_no_trouble() -> None:
    assert told(0)["MetricsAvailable"].status is ConditionStatus.TRUE
    assert told(0)["Ready"].status is ConditionStatus.TRUE


def test_an_agent_that_is_not_believed_is_named_with_the_reason_and_a_next_step() -> None:
    found = told(1)["MetricsAvailable"]
    assert (found.status, found.reason) == (ConditionStatus.FALSE, "AgentDoubted")
    assert found.message == (
        "serving/image-gen-0 has images in its GPUs and has counted nothing for 9 s; "
        "counted as not answering. Look at these pods' agents"
    )
    assert told(1)["Ready"].reason == "AgentDoubted"


def test_of_many_the_first_are_named() -> None:
    message = told(5)["MetricsAvailable"].message
    assert "image-gen-2 has" in message
    assert "image-gen-3" not in message
    assert "; 2 more; counted as" in message


def test_a_doubt_is_worth_a_status_at_once() -> None:
    marks = []
    for stuck in (0, 1):
        seen, decision = of(stuck)
        marks.append(marks_of(decision, seen, DONE))
    assert marks[0] != marks[1]
