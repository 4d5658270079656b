"""What a lender bears: how much work for how little relief, how many nodes at a time, how often after others."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.fleet import Guards, NodeView, PodView
from meltguard.core.harm import survey
from meltguard.core.policy import HarmBounds
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Seconds
from meltguard.core.victims import LENT_WEIGHS, Choice, Need, Place, choose_nodes
from support.core_values import a_node, a_pod
from support.drain_world import EVICTION

HOUR = 3600.0
NOW = Instant(1_000_000.0)
RESEARCH = PoolName("research")
SHARED = "JobSet research/big"


def work(node: str, hours: float, gang: str) -> PodView:
    """A pod on eight GPUs."""
    return a_pod(f"{node}-0", node=NodeName(node), gang=gang, started_at=Instant(NOW - hours * HOUR))


def busy(name: str, hours: float) -> NodeView:
    """A node of eight GPUs whose work was not saved for so long."""
    return a_node(name, pods=(work(name, hours, f"Job research/{name}"),))


def names(choice: Choice) -> list[str]:
    return [node.name for node in choice.nodes]


def lender_of(bounds: HarmBounds, nodes: Sequence[NodeView], missing: int, emptying: int = 0) -> Choice:
    """Of one pool that bears so much."""
    fixed = {"home": RESEARCH, "turn": 0, "eviction": EVICTION, "bounds": bounds}
    places = [Place(node=node, worth=node.gpus, **fixed) for node in nodes]  # type: ignore[arg-type]
    need = Need(missing=Gpus(missing), room=99, rooms={RESEARCH: 99}, priority=0, emptying={RESEARCH: emptying})
    return choose_nodes(places, need, survey(nodes, Guards(), NOW))


def test_much_work_is_not_lost_for_few_gpus() -> None:
    """A day of eight GPUs is 192 GPU-hours: for eight missing GPUs the pool bears it, for four it does not."""
    day = busy("a", 24.0)
    assert names(lender_of(HarmBounds(), [day], 8)) == ["a"]
    choice = lender_of(HarmBounds(), [day], 4)
    assert names(choice) == []
    assert choice.refused[NodeName("a")].text == (
        "would lose 192.0 GPU-hours of work for 4 of 4 missing GPUs; "
        "its pool bears 24.0 for each (lending.eviction.maxLossPerGPU)"
    )


def test_each_pool_says_what_it_bears_for_a_gpu() -> None:
    nodes = [busy("a", 1.0), busy("b", 3.0)]
    assert names(lender_of(HarmBounds(per_gpu=Seconds(2 * HOUR)), nodes, 16)) == ["a"]
    assert names(lender_of(HarmBounds(per_gpu=Seconds(0.0)), [*nodes, a_node("c")], 24)) == ["c"]


def test_a_gang_may_be_broken_off_for_all_that_it_frees_and_not_for_a_part() -> None:
    gang = [a_node(name, pods=(work(name, 20.0, SHARED),)) for name in ("a", "b", "c")]
    assert names(lender_of(HarmBounds(), gang, 24)) == ["a", "b", "c"]
    assert names(lender_of(HarmBounds(), gang, 8)) == []


def test_only_so_many_nodes_are_emptied_at_a_time_and_idle_ones_do_not_count() -> None:
    nodes = [a_node("a"), a_node("b"), *(busy(name, 1.0) for name in "cdef")]
    choice = lender_of(HarmBounds(nodes_at_once=2), nodes, 48)
    assert names(choice) == ["a", "b", "c", "d"]
    assert choice.refused[NodeName("e")].text == (
        "is in use, and pool research has 2 nodes being emptied, at most 2 may be at a time "
        "(lending.eviction.maxAtOnce)"
    )
    assert names(lender_of(HarmBounds(nodes_at_once=2), nodes, 48, emptying=1)) == ["a", "b", "c"]


def two_lenders(saves: tuple[float, float], burdens: tuple[float, float]) -> str:
    """Who lends its one busy node, of two that lose so many hours and were lent for so many lately."""
    nodes = [busy(name, hours) for name, hours in zip("xy", saves, strict=True)]
    places = [
        Place(node=node, worth=node.gpus, home=PoolName(node.name), turn=turn, eviction=EVICTION, burden=burdens[turn])
        for turn, node in enumerate(nodes)
    ]
    need = Need(missing=Gpus(8), room=1, rooms={PoolName("x"): 1, PoolName("y"): 1}, priority=0)
    return names(choose_nodes(places, need, survey(nodes, Guards(), NOW)))[0]


def test_among_busy_nodes_it_counts_who_lent_before() -> None:
    assert two_lenders((0.1, 1.0), (0.0, 0.0)) == "x"
    assert two_lenders((0.1, 1.0), (3.0, 0.0)) == "x"
    assert two_lenders((0.1, 1.0), (4.0, 0.0)) == "y"


@given(hours=st.tuples(st.floats(0, 24), st.floats(0, 24)), burdens=st.tuples(st.floats(0, 40), st.floats(0, 40)))
def test_fairness_costs_no_more_work_than_a_quarter_of_what_was_lent(
    hours: tuple[float, float], burdens: tuple[float, float]
) -> None:
    chosen = "xy".index(two_lenders(hours, burdens))
    other = 1 - chosen
    assert hours[chosen] - hours[other] <= LENT_WEIGHS * max(0.0, burdens[other] - burdens[chosen]) + 1e-6
