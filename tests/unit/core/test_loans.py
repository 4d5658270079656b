"""The plan of a loan in words, and who carries it out: relief against harm, names, and the policy's mode last."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.decide import decide
from meltguard.core.decision import NO_WORK, Borrow, Outcome, Shortage
from meltguard.core.fleet import Guards, MoveStep, NodeView, PodView
from meltguard.core.limits import UTILIZATION
from meltguard.core.loans import Found, arriving, choose_loans, missing_gpus
from meltguard.core.memory import Memory
from meltguard.core.moves import new_claim
from meltguard.core.policy import Mode, Pool
from meltguard.core.pools import assign
from meltguard.core.seen import Snapshot
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Gpus, Instant, NodeName, PoolName, Pressure, Share, UnitsPerSecond
from meltguard.core.victims import whole_gpus
from support.core_values import FREE, PLUS, SURELY, a_job, a_node, a_pod, a_policy, a_pool, a_snapshot
from support.drain_world import EVICTION, a_budget

NOW = Instant(1_000_000.0)
HOUR = 3600.0
SURGE, QUEUE = {FREE: 10.0, PLUS: 3.0}, {FREE: 60.0}


def gentle(name: str = "research", floor: int = 0) -> Pool:
    """A pool that lends busy nodes too."""
    lending = a_pool().lending
    assert lending is not None
    return a_pool(name, lending=replace(lending, eviction=EVICTION, floor=floor))


def busy(name: str, *pods: PodView) -> NodeView:
    return a_node(name, pods=tuple(replace(pod, node=NodeName(name)) for pod in pods))


def training(name: str, hours: float, **changes: Any) -> PodView:
    fields = {"gang": "Job lab/train", "owner_uid": f"{name}-uid", "namespace": "lab", **changes}
    return a_pod(name, started_at=Instant(NOW - hours * HOUR), **fields)


def plan(
    nodes: list[NodeView], missing: int = 8, guards: Guards | None = None, mode: Mode = Mode.ENFORCE, **seen: Any
) -> Found:
    """What is chosen of these nodes of research, which lends busy ones."""
    policy = a_policy(signals=a_policy().signals[:1], mode=mode)
    assert policy.capacity is not None
    pools = seen.pop("pools", None) or assign([a_pool("inference"), gentle()], nodes)
    return choose_loans(
        Shortage(
            policy=policy,
            capacity=policy.capacity,
            seen=a_snapshot(SURGE, pools=pools, guards=guards or Guards(), **seen),
            memory=Memory(short_since=Instant(NOW - 60)),
            signals=(),
            pressure=Pressure(1.5),
            demand=UnitsPerSecond(9.0),
            busy=Share(1.0),
            missing=Gpus(missing),
            beyond=UnitsPerSecond(missing),
            excess=SURELY,
            now=NOW,
        )
    )


def answer(rules: tuple[Outcome, ...], rule: str) -> Outcome:
    return next(outcome for outcome in rules if outcome.rule == rule)


def test_relief_is_explained_against_harm() -> None:
    node = busy("gpu-4", training("train-0", 2.0, saved_at=Instant(NOW - 18 * 60)))
    (borrow,), rules = plan([node], 12)
    assert borrow == Borrow(
        node=NodeName("gpu-4"),
        home=PoolName("research"),
        to=PoolName("inference"),
        work_lost=pytest.approx(2.4),
        victims=("Job lab/train",),
        cause="12 GPUs are missing for a demand of 540/m",
        stops=(Stopped(work="Job lab/train", hours=GpuHours(borrow.work_lost), saved=Instant(NOW - 18 * 60)),),
    )
    assert answer(rules, "a node fits").text == (
        "gpu-4 of pool research relieves 8 of 12 missing GPUs (67%) for 2.4 GPU-hours of work: "
        "Job lab/train (2.4 GPU-hours, saved 18 min ago); 4 GPUs stay missing: no other node may be lent now"
    )


WORDS = {
    "never saved": ({}, Guards(), "Job lab/train (16.0 GPU-hours, never saved)"),
    "saved long ago": ({"saved_at": Instant(NOW - 1.5 * HOUR)}, Guards(), "(12.0 GPU-hours, saved 1.5 h ago)"),
    "broken off by another move": (
        {},
        Guards(pledged=(training("train-1", 2.0, node=NodeName("gpu-9")),)),
        "Job lab/train (0.0 GPU-hours, is broken off already)",
    ),
    "a Job that fails": (
        {"saved_at": Instant(NOW), "owner_uid": "train-uid"},
        Guards(jobs=(a_job(),)),
        "(16.0 GPU-hours, fails as a whole, so all since its start counts)",
    ),
}


@pytest.mark.parametrize(("changes", "guards", "words"), WORDS.values(), ids=WORDS)
def test_the_harm_is_told_in_words(changes: dict[str, Any], guards: Guards, words: str) -> None:
    lending = gentle().lending
    assert lending is not None
    pool = gentle()
    rough = replace(pool, lending=replace(lending, eviction=replace(EVICTION, fails_jobs=True)))
    nodes = [busy("gpu-4", training("train-0", 2.0, **changes))]
    _, rules = plan(nodes, guards=guards, pools=assign([a_pool("inference"), rough], nodes))
    assert words in answer(rules, "a node fits").text


def test_an_idle_node_costs_nothing_and_names_nobody() -> None:
    (borrow,), rules = plan([a_node("gpu-4"), busy("gpu-3", training("train-0", 2.0))])
    assert (borrow.node, borrow.work_lost, borrow.victims, borrow.gang_elsewhere) == ("gpu-4", NO_WORK, (), ())
    assert answer(rules, "a node fits").text.endswith("8 of 8 missing GPUs (100%) and is idle")


def test_members_of_a_broken_gang_elsewhere_are_named() -> None:
    nodes = [busy(f"gpu-{n}", training(f"train-{n}", 1.0)) for n in (4, 5)]
    other = busy("gpu-1", training("train-1", 1.0), training("other", 90.0, gang="Job lab/other"))
    (borrow,), rules = plan([*nodes, other])
    assert borrow.gang_elsewhere == ("lab/train-1 on gpu-1", "lab/train-5 on gpu-5")
    assert borrow.work_lost == pytest.approx(24.0)
    assert "; stops lab/train-1 on gpu-1, lab/train-5 on gpu-5 too" in answer(rules, "a node fits").text


def test_a_gang_on_two_chosen_nodes_is_paid_for_once() -> None:
    nodes = [busy(f"gpu-{n}", training(f"train-{n}", 1.0)) for n in (4, 5)]
    (first, second), rules = plan(nodes, 16)
    assert [first.work_lost, second.work_lost] == pytest.approx([16.0, 0.0])
    assert first.victims == second.victims == ("Job lab/train",)
    assert first.gang_elsewhere == second.gang_elsewhere == ()
    assert "0.0 GPU-hours of work: the rest of Job lab/train" in answer(rules, "a node fits").text


def test_each_node_is_charged_with_its_own_work() -> None:
    nodes = [busy(f"gpu-{n}", training(f"train-{n}", 1.0 + n, gang=f"Job lab/{n}")) for n in (4, 5)]
    taken, rules = plan(nodes, 16)
    assert [borrow.victims for borrow in taken] == [("Job lab/4",), ("Job lab/5",)]
    words = answer(rules, "a node fits").text.split("; ")
    assert [word.rpartition(": ")[2] for word in words] == [
        "Job lab/4 (40.0 GPU-hours, never saved)",
        "Job lab/5 (48.0 GPU-hours, never saved)",
    ]


def test_a_refusal_names_pods_and_reasons() -> None:
    nodes = [busy(f"gpu-{n}", training(f"train-{n}", 1.0, namespace="research", gang="")) for n in (4, 5)]
    taken, rules = plan(nodes, guards=Guards(budgets=(a_budget(0, never="maxUnavailable is 0"),)))
    assert taken == ()
    refused = answer(rules, "a node fits")
    assert not refused.holds
    assert refused.reason == "BudgetUnsatisfiable"
    assert refused.text.startswith(
        "pool research: gpu-4 research/train-4: BudgetUnsatisfiable, disruption budget train"
    )
    assert "; gpu-5 research/train-5: " in refused.text


def test_what_is_not_allowed_now_has_another_reason() -> None:
    node = busy("gpu-4", training("train-0", 1.0, namespace="research"))
    _, rules = plan([node], guards=Guards(budgets=(a_budget(0),)))
    assert answer(rules, "a node fits").reason == "BudgetExhausted"


def test_a_node_on_which_no_serving_pod_fits_is_refused() -> None:
    nodes = [a_node("gpu-4", gpus=Gpus(1))]
    seen = a_snapshot(SURGE, QUEUE, pools=assign([a_pool("inference"), gentle()], nodes))
    decision = decide(a_policy(gpus_per_pod=Gpus(2)), Memory(short_since=Instant(900.0)), seen, Instant(1000.0))
    assert decision.borrow == ()
    assert any("a serving pod needs 2" in outcome.text for outcome in decision.rules)


@pytest.mark.parametrize(
    ("asked", "offered", "lent"),
    [
        ({"nvidia.com/gpu"}, {"amd.com/gpu"}, False),
        ({"nvidia.com/gpu"}, {"nvidia.com/mig-1g.10gb"}, False),
        ({"nvidia.com/gpu"}, {"nvidia.com/gpu", "nvidia.com/mig-1g.10gb"}, True),
        ({"nvidia.com/gpu", "amd.com/gpu"}, {"amd.com/gpu"}, True),  # a service of two Deployments
        (set(), {"amd.com/gpu"}, True),  # no pod of it was seen yet: its number of GPUs alone is asked
    ],
)
def test_a_node_of_a_kind_that_serving_pods_do_not_ask_for_is_refused(
    asked: set[str], offered: set[str], *, lent: bool
) -> None:
    nodes = [replace(a_node("gpu-4"), by_kind=dict.fromkeys(offered, Gpus(8)))]
    seen = a_snapshot(SURGE, QUEUE, pools=assign([a_pool("inference"), gentle()], nodes), gpu_kinds=frozenset(asked))
    decision = decide(a_policy(), Memory(short_since=Instant(900.0)), seen, Instant(1000.0))
    assert bool(decision.borrow) is lent
    assert lent or any("serving pods ask for nvidia.com/gpu" in outcome.text for outcome in decision.rules)


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.PAUSED])
def test_the_plan_shows_whatever_the_mode_and_only_its_taking_is_cut(mode: Mode) -> None:
    nodes = [busy("gpu-4", training("train-0", 1.0)), busy("gpu-5", training("train-1", 0.5, gang="Job lab/eval"))]
    done, _ = plan(nodes, 16)
    taken, rules = plan(nodes, 16, mode=mode)
    assert len(done) == 2
    assert taken == ()
    assert answer(rules, "a node fits").holds
    assert rules[-1] == Outcome(
        rule="mode allows moves",
        holds=False,
        text=f"the policy's mode is {mode}: would borrow gpu-5, gpu-4 of pool research for 12.0 GPU-hours of work "
        "(Job lab/eval, Job lab/train)",
    )


def test_the_mode_is_asked_last_and_says_nothing_more_where_it_allows() -> None:
    _, rules = plan([a_node("gpu-4")])
    assert rules[-1] == Outcome(rule="mode allows moves", holds=True, text="the policy's mode is Enforce")
    _, refused = plan([], mode=Mode.SHADOW)
    assert refused[-1].text == "the policy's mode is Shadow"


def test_an_idle_node_of_a_second_pool_comes_before_work_of_the_first() -> None:
    policy = a_policy()
    assert policy.capacity is not None
    both = replace(policy.capacity, borrow_from=(PoolName("research"), PoolName("burst"), PoolName("gone")))
    nodes = [busy("gpu-4", training("train-0", 0.1)), a_node("far-1", "burst")]
    seen = a_snapshot(SURGE, QUEUE, pools=assign([a_pool("inference"), gentle(), gentle("burst")], nodes))
    decision = decide(replace(policy, capacity=both), Memory(short_since=Instant(900.0)), seen, Instant(1000.0))
    assert [(borrow.node, borrow.home) for borrow in decision.borrow] == [("far-1", "burst")]
    assert all(outcome.holds for outcome in decision.rules)  # nobody asks about the pool that is gone


def test_lenders_that_refuse_are_told_while_something_stays_missing() -> None:
    policy = a_policy()
    assert policy.capacity is not None
    both = replace(policy.capacity, borrow_from=(PoolName("gone"), PoolName("research")))
    seen = a_snapshot(SURGE, QUEUE, pools=assign([a_pool("inference"), gentle()], [a_node("n", gpus=Gpus(2))]))
    decision = decide(replace(policy, capacity=both), Memory(short_since=Instant(900.0)), seen, Instant(1000.0))
    assert [borrow.node for borrow in decision.borrow] == ["n"]
    assert any("there is no GPUPool gone" in outcome.text for outcome in decision.rules)


@pytest.mark.parametrize("step", MoveStep)
def test_nodes_count_as_arriving_until_they_serve_or_turn_back(step: MoveStep) -> None:
    node = a_node("gpu-4")
    claim = new_claim(node, ("serving/image-gen", "policy-uid"), (gentle(), a_pool("inference")), (NOW, NOW))
    seen: Snapshot = a_snapshot(SURGE, loans=(replace(node, claim=replace(claim, step=step)),))
    home = step in {MoveStep.RECALLED, MoveStep.RESTORED, MoveStep.HOME}
    assert [one.name for one in arriving(seen, frozenset())] == ([] if home else [node.name])
    assert arriving(seen, frozenset({node.name})) == []


def test_a_hundredth_of_a_gpu_is_missing_neither_before_nor_after_a_plan() -> None:
    demands = [UnitsPerSecond(UTILIZATION * gpus) for gpus in (5.0, 6.0, 6.009, 6.02, 7.009)]
    missing = [missing_gpus(demand, UnitsPerSecond(1.0), 6.0) for demand in demands]
    assert missing == [0, 0, 0, 1, 1] == [whole_gpus(demand / UTILIZATION - 6.0) for demand in demands]
