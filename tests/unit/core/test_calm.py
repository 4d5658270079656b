"""A node goes home for calm only where nothing contradicts the calm that agents tell of."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.load import PodLoad
from meltguard.core.memory import Memory
from meltguard.core.move_actions import Wanted
from meltguard.core.moves import new_claim
from meltguard.core.policy import Policy
from meltguard.core.pools import assign, loans_of
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, Seconds, Units, UnitsPerSecond
from support.core_values import FREE, PLUS, a_load, a_node, a_policy, a_pool, a_snapshot

NOW = Instant(10_000.0)
LEARNED = Memory(units_per_gpu=UnitsPerSecond(1.0))
CALM = {FREE: 2.0, PLUS: 1.0}


def a_loan() -> NodeView:
    """One of the service's four nodes, on which two of its eight GPUs are."""
    node = a_node("lent", gpus=Gpus(2))
    times = (Instant(1000.0), Instant(90_000.0))
    claim = new_claim(node, (a_policy().key, a_policy().uid), (a_pool(), a_pool("inference")), times)
    return replace(node, claim=replace(claim, step=MoveStep.LENT), labels={**node.labels, "workload": "inference"})


def calm(*changed: PodLoad, used: float | None = 37.5, problem: str = "", offered: Any = None) -> Snapshot:
    """Agents tell of three units a second, of eight that the GPUs do; the platform says how much these work."""
    view = a_snapshot(offered or CALM)
    heat = next(reading for reading in view.readings if reading.signal == "heat")
    use = Reading(signal="use", value=used, age=Seconds(1.0), problem=problem)
    loads = tuple(
        replace(load, node=NodeName("lent" if number < 2 else "gpu-01"))
        for number, load in enumerate((*changed, *view.loads[len(changed) :]))
    )
    nodes = [a_loan(), *(a_node(f"r{number}") for number in range(3))]
    pools = assign([a_pool("inference"), a_pool()], nodes)
    return replace(view, loads=loads, readings=(heat, use), pools=pools, loans=loans_of(a_policy().uid, nodes))


def homeward(decision: Decision) -> list[NodeName]:
    return [name for name, intent in decision.intents.items() if intent.wanted is Wanted.HOME]


def decided(view: Snapshot, policy: Policy | None = None) -> Decision:
    return decide(policy or a_policy(), LEARNED, view, NOW)


def went_home(view: Snapshot, passes: int = 120) -> list[NodeName]:
    """Over four minutes; the policy returns after two."""
    memory, found = LEARNED, list[NodeName]()
    for number in range(passes):
        decision = decide(a_policy(), memory, view, Instant(NOW + 2.0 * number))
        memory = decision.memory
        found += homeward(decision)
    return found


def nothing_told(number: int, **changes: Any) -> PodLoad:
    """Counters that stand still while the agent's clock goes on."""
    nought = {FREE: 0.0, PLUS: 0.0}
    return replace(
        a_load(number, nought, {}, busy=0.0), **{"in_flight": Units(0.0), "done": UnitsPerSecond(0.0), **changes}
    )


FROZEN = [nothing_told(number, still=Seconds(10.0)) for number in range(8)]
KEPT = {
    "GPUs work at 98 % while counters stand still": (calm(*FROZEN, used=98.0), "use 98 % would be above 80 %"),
    "what is left would be too full": (calm(used=61.0), "use 61 % would be above 80 %"),
    "the agents do not tell of calm": (calm(offered={FREE: 5.0, PLUS: 1.0}), ""),
    "the exporter says 255": (calm(used=None, problem="samples are no possible values"), "use is unknown (samples"),
    "the exporter's word is stale": (
        replace(calm(), readings=tuple(replace(one, age=Seconds(600.0)) for one in calm().readings)),
        "heat is unknown (stale",
    ),
    "too few agents answer": (replace(calm(), loads=calm().loads[:6]), "6 of 8 ready pods answer"),
    "two of eight are not believed": (
        calm(*(nothing_told(n, still=Seconds(10.0), in_flight=Units(1.0)) for n in range(2))),
        "6 of 8 ready pods answer",
    ),
    "every agent has just restarted": (replace(calm(), loads=()), ""),
}


@pytest.mark.parametrize(("view", "words"), KEPT.values(), ids=KEPT)
def test_no_node_goes_home_on_a_calm_that_something_contradicts(view: Snapshot, words: str) -> None:
    assert went_home(view) == []
    assert words in decided(view).next_change


def test_a_calm_that_nothing_contradicts_sends_one_home() -> None:
    """The test above would hold of a service that gives nothing back."""
    assert went_home(calm()) != []
    assert went_home(calm(*FROZEN, used=0.0)) != [], "counters stand still because nobody asks"


def test_a_policy_that_names_no_metric_of_the_platform_goes_by_its_agents() -> None:
    policy = a_policy(signals=a_policy().signals[:1])
    assert decided(replace(calm(), readings=()), policy).memory.spare_since == NOW


@settings(max_examples=40, deadline=None)
@given(
    used=st.floats(85.0, 100.0),
    told=st.lists(st.floats(0.0, 1.0), min_size=8, max_size=8),
    still=st.floats(0.0, 1000.0),
)
def test_whatever_agents_tell_nothing_goes_home_while_the_gpus_work(
    used: float, told: list[float], still: float
) -> None:
    loads = [nothing_told(number, still=Seconds(still)) for number in range(8)]
    lies = [
        replace(load, tiers=a_load(0, {FREE: rate, PLUS: 0.0}, {}).tiers)
        for load, rate in zip(loads, told, strict=True)
    ]
    assert went_home(calm(*lies, used=used), passes=90) == []


def test_no_silence_of_one_agent_sends_a_node_home() -> None:
    """Where no metric of the platform is named: five units a second do not fit on six of the eight GPUs."""
    policy = a_policy(signals=a_policy().signals[:1])
    honest = calm(offered={FREE: 5.0, PLUS: 0.0})
    assert decided(honest, policy).memory.spare_since is None
    quiet = calm(nothing_told(0), offered={FREE: 5.0, PLUS: 0.0})
    assert decided(quiet, policy).memory.spare_since is None
    assert decided(calm(offered={FREE: 4.4, PLUS: 0.0}), policy).memory.spare_since == NOW
