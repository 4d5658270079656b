"""Who gets which node where several policies want the same."""

from dataclasses import replace
from math import ceil
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.arbiter import Award, Wish, arbitrate, stands
from meltguard.core.decision import Borrow
from meltguard.core.fleet import NodeView
from meltguard.core.moves import new_claim
from meltguard.core.policy import HarmBounds, Policy, Pool
from meltguard.core.units import Gpus, Instant, NodeName, PoolName
from support.core_values import a_node, a_pod, a_pool
from support.drain_world import EVICTION
from support.takers import a_lending_pool, a_taking_policy, a_wish

NOW = Instant(1_000_000.0)


def ground(research: int, lab: int = 0, floor: int = 0, share: float = 0.0) -> tuple[list[Pool], list[NodeView]]:
    """Idle nodes of one GPU each in two lenders."""
    pools = [a_pool("inference"), a_lending_pool("research", floor, share), a_lending_pool("lab", floor, share)]
    nodes = [a_node(f"r-{number}", gpus=Gpus(1)) for number in range(research)]
    return pools, nodes + [a_node(f"l-{number}", "lab", gpus=Gpus(1)) for number in range(lab)]


def counted(awards: tuple[Award, ...]) -> dict[str, int]:
    names = [award.policy.name for award in awards]
    return {name: names.count(name) for name in names}


@pytest.mark.parametrize(
    ("one", "other", "shares"),
    [
        ((1, 1, 9), (1, 1, 9), {"a": 4, "b": 4}),  # equals
        ((1, 1, 9), (1, 3, 9), {"a": 2, "b": 6}),  # by weight
        ((1, 1, 1), (1, 3, 9), {"a": 1, "b": 7}),  # nobody has more than it wants
        ((1, 1, 8), (3, 1, 8), {"a": 2, "b": 6}),  # by priority times what is missing: 1 x 6 and 3 x 2 stay unmet
    ],
)
def test_contested_nodes_are_shared_as_declared(
    one: tuple[int, int, int], other: tuple[int, int, int], shares: dict[str, int]
) -> None:
    world = ground(8)
    wishes = [
        a_wish(a_taking_policy(name, priority, weight), missing, world, NOW)
        for name, (priority, weight, missing) in zip("ab", (one, other), strict=True)
    ]
    assert counted(arbitrate(wishes)) == shares


def test_who_loses_its_first_choice_gets_its_next_best_in_the_same_pass() -> None:
    world = ground(1, lab=1)
    wishes = [a_wish(a_taking_policy(name), 1, world, NOW) for name in "ab"]
    assert [wish.plan[0].node for wish in wishes] == ["r-0", "r-0"]
    assert [(award.policy.name, award.borrow.node) for award in arbitrate(wishes)] == [("a", "r-0"), ("b", "l-0")]


taker = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(
    takers=st.lists(taker, min_size=1, max_size=4),
    sizes=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    floor=st.integers(0, 3),
    share=st.sampled_from((0.0, 0.5)),
    shuffled=st.randoms(use_true_random=False),
)
def test_one_taker_a_node_floors_kept_nothing_idle_and_the_same_answer_in_any_order(
    takers: list[tuple[int, int, int]],
    sizes: tuple[int, int],
    floor: int,
    share: float,
    shuffled: Random,
) -> None:
    world = ground(*sizes, floor=floor, share=share)
    wishes = [
        a_wish(a_taking_policy(f"p{number}", priority, weight), missing, world, NOW)
        for number, (priority, weight, missing) in enumerate(takers)
    ]
    awards = arbitrate(wishes)
    nodes = [award.borrow.node for award in awards]
    assert len(nodes) == len(set(nodes))
    rooms = [max(0, size - max(floor, ceil(size * share))) for size in sizes]
    for home, room in zip(("research", "lab"), rooms, strict=True):
        assert sum(award.borrow.home == home for award in awards) <= room
    assert len(awards) == min(sum(rooms), sum(missing for _, _, missing in takers))
    shuffled.shuffle(wishes)
    assert arbitrate(wishes) == awards


@pytest.mark.parametrize("at_once", [0, 1, 2, 3])
def test_a_lender_is_emptied_of_no_more_busy_nodes_at_a_time_whoever_they_are_for(at_once: int) -> None:
    research, lab = a_lending_pool("research", 0), a_lending_pool("lab", 0)
    assert research.lending is not None
    terms = replace(research.lending, eviction=EVICTION, bounds=HarmBounds(nodes_at_once=at_once))
    pods = {f"r-{n}": a_pod(f"job-{n}", node=NodeName(f"r-{n}"), gang=f"Job {n}", started_at=NOW) for n in range(4)}
    busy = [a_node(name, gpus=Gpus(1), pods=(pod,)) for name, pod in pods.items()]
    pools = [a_pool("inference"), replace(research, lending=terms), lab]
    world = (pools, [*busy, a_node("l-0", "lab", gpus=Gpus(1))])
    awards = arbitrate(a_wish(a_taking_policy(name), 2, world, NOW) for name in "abc")
    taken = [award.borrow.node for award in awards]
    assert sum(name in pods for name in taken) == at_once
    assert "l-0" in taken
    assert len(set(taken)) == len(taken)


OWN = a_taking_policy("a")
RESEARCH, INFERENCE = PoolName("research"), PoolName("inference")
LARGE = a_node("large", gpus=Gpus(8))


def awarded(node: str, **changes: Any) -> Award:
    return Award(policy=OWN, borrow=replace(Borrow(node=NodeName(node), home=RESEARCH, to=INFERENCE), **changes))


def claimed(node: NodeView) -> NodeView:
    at = (NOW, Instant(NOW + 3600.0))
    claim = new_claim(node, (OWN.key, OWN.uid), (a_lending_pool("research", 0), a_pool("inference")), at, None)
    return replace(node, claim=claim)


def newest(missing: int, policy: Policy = OWN, *loans: NodeView) -> Wish:
    """What it wants by now, of idle nodes of one GPU each."""
    pools, nodes = ground(9)
    return a_wish(policy, missing, (pools, [*nodes, *loans]), NOW)


def elsewhere(**changes: Any) -> Policy:
    assert OWN.capacity is not None
    return replace(OWN, capacity=replace(OWN.capacity, **changes))


ONE = claimed(a_node("r-1", gpus=Gpus(1)))
STANDS: dict[str, tuple[Award, Wish, tuple[NodeView, ...], bool]] = {
    "nothing was claimed yet": (awarded("r-0"), newest(1), (), True),
    "two are wanted and one is claimed": (awarded("r-0"), newest(2), (ONE,), True),
    "one is enough by now": (awarded("r-0"), newest(1), (ONE,), False),
    "one more is wanted beside the one that it knew of": (awarded("r-0"), newest(1, OWN, ONE), (ONE,), True),
    "a large node covers all": (awarded("r-0"), newest(4), (claimed(LARGE),), False),
    "a large node covers a part": (awarded("r-0"), newest(9), (claimed(LARGE),), True),
    "it does not borrow there any more": (awarded("r-0"), newest(1, elsewhere(borrow_from=("lab",))), (), False),
    "its own pool is another": (awarded("r-0"), newest(1, elsewhere(pool="other")), (), False),
    "it has no pool any more": (awarded("r-0"), Wish(policy=replace(OWN, capacity=None), plan=()), (), False),
    "it would break off no work any more": (awarded("r-0", victims=("Job lab/1",)), newest(1), (), False),
}


@pytest.mark.parametrize(("award", "wish", "made", "expected"), STANDS.values(), ids=STANDS)
def test_an_award_stands_where(award: Award, wish: Wish, made: tuple[NodeView, ...], *, expected: bool) -> None:
    assert stands(award, wish, made) is expected


@given(sizes=st.lists(st.integers(1, 8), max_size=9), missing=st.integers(0, 9), knew=st.integers(0, 9))
def test_a_batch_ends_where_the_newest_decision_has_enough(sizes: list[int], missing: int, knew: int) -> None:
    """Whatever was awarded before, of nodes of any size, and however many of the claims it knew of."""
    nodes = [claimed(a_node(f"x-{number}", gpus=Gpus(size))) for number, size in enumerate(sizes)]
    wish, made = newest(missing, OWN, *nodes[:knew]), list[NodeView]()
    for node in nodes:
        if node in nodes[:knew] or stands(awarded(node.name), wish, made):
            made.append(node)
    since = [node for node in made if node not in nodes[:knew]]
    assert len(since) <= len(wish.plan)
    assert sum(node.gpus for node in since[:-1]) < max(1, missing), "but for the last, they left something missing"
