from dataclasses import replace

import pytest

from meltguard.api.policy_status import LimitStatus, PolicyStatus, RolloutStatus
from meltguard.core.policy import TierState
from meltguard.core.rollout_state import RolloutState
from meltguard.core.units import Seconds
from meltguard.demo.surge import at_rest, phase
from meltguard.demo.watch import NodeNow, Picture


def node(name: str, step: str = "", serving: int = 8, starting: int = 0) -> NodeNow:
    return NodeNow(
        name=name,
        pool="inference",
        home="inference",
        step=step,
        cordoned=False,
        serving=serving,
        starting=starting,
        other=0,
        hottest=70.0,
        busy=50.0,
    )


def picture(*nodes: NodeNow, limited: bool = False) -> Picture:
    state = TierState.DELAY if limited else TierState.OPEN
    limits = (LimitStatus(tier="free", state=state, rate="none"),)
    return Picture(nodes=nodes, policy=PolicyStatus(limits=limits), tiers=())


QUIET = picture(node("a"), node("b"), node("c"), node("d"))


@pytest.mark.parametrize(
    ("seen", "elapsed", "sending", "word"),
    [
        (QUIET, -3.0, True, "quiet"),
        (QUIET, 3.0, True, "surge"),
        (picture(node("a"), limited=True), 9.0, True, "limited"),
        (picture(node("a", "Cordoned"), limited=True), 9.0, True, "borrowing"),
        (picture(node("a", "Lent")), 9.0, True, "borrowed"),
        (picture(node("a", "Recalled"), node("b", "Lent")), 9.0, True, "giving back"),
        (QUIET, 200.0, False, "settling"),
    ],
)
def test_the_phase_is_what_is_most_worth_knowing(seen: Picture, elapsed: float, sending: bool, word: str) -> None:  # noqa: FBT001 - a case's column
    assert phase(seen, Seconds(elapsed), sending=sending) == word


def test_all_is_at_rest_when_the_service_is_as_large_as_it_was_and_nothing_is_lent() -> None:
    assert at_rest(QUIET)
    three = (node("a"), node("b"), node("c"))
    assert not at_rest(picture(*three, node("d", "Recalled")))
    assert not at_rest(picture(*three, node("d", serving=7)))
    assert not at_rest(picture(*three, node("d"), node("e", starting=1, serving=0)))
    held = PolicyStatus(rollouts=RolloutStatus(state=RolloutState.HELD))
    assert not at_rest(replace(QUIET, policy=held))
