"""Values of the core for tests: each builder gives a sound one, and takes what a test is about."""

from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from meltguard.core.chance import Excess
from meltguard.core.fleet import CLAIM_ANNOTATION, Claim, Job, NodeView, PodView
from meltguard.core.level import ENTER, LevelNow, LevelState, Pressing, level_now
from meltguard.core.load import PodLoad, TierLoad
from meltguard.core.policy import (
    Capacity,
    Lending,
    Level,
    Mode,
    Override,
    Policy,
    Pool,
    Signal,
    SignalKind,
    SignalUse,
    Taint,
    Tier,
    TierState,
)
from meltguard.core.pools import assign
from meltguard.core.seen import Reading, Snapshot
from meltguard.core.units import (
    Gpus,
    Instant,
    NodeName,
    PodUid,
    PoolName,
    Pressure,
    Seconds,
    Share,
    TierName,
    Units,
    UnitsPerSecond,
)

LADDER = {
    Level.ELEVATED: TierState.DELAY,
    Level.OVERLOADED: TierState.REJECT,
    Level.CRITICAL: TierState.SUSPEND,
}
SURELY = Excess(Units(1e6), Units(1.0), 1.0)
"""A shortage that is none of chance's."""

FREE, PLUS = TierName("free"), TierName("plus")


def a_tier(name: str = "free", **changes: Any) -> Tier:
    tier = Tier(
        name=TierName(name),
        priority=0,
        weight=1,
        floor=Share(0.02),
        max_rate=None,
        quota=None,
        max_wait=Seconds(30.0),
        shed_status=503,
        message="",
        on_level={
            Level.ELEVATED: TierState.DELAY,
            Level.OVERLOADED: TierState.REJECT,
            Level.CRITICAL: TierState.SUSPEND,
        },
    )
    return replace(tier, **changes)


def a_policy(**changes: Any) -> Policy:
    policy = Policy(
        namespace="serving",
        name="image-gen",
        uid="policy-uid",
        mode=Mode.ENFORCE,
        gpus_per_pod=Gpus(1),
        stale_after=Seconds(60.0),
        dwell=Seconds(60.0),
        signals=(
            Signal(name="wait", kind=SignalKind.AGENT_WAIT, use=SignalUse.DRIVE, calm=1, target=4, critical=12),
            Signal(name="heat", kind=SignalKind.GPU_TEMPERATURE, use=SignalUse.DRIVE, calm=70, target=80, critical=88),
            Signal(
                name="use", kind=SignalKind.GPU_UTILIZATION, use=SignalUse.CONFIRM, calm=50, target=80, critical=100
            ),
        ),
        tiers=(a_tier(), a_tier("plus", priority=10, floor=Share(0.0), on_level={})),
        capacity=Capacity(
            pool=PoolName("inference"),
            borrow_from=(PoolName("research"),),
            max_loans=3,
            borrow_at=Pressure(0.9),
            return_after=Seconds(120.0),
            units_per_gpu=UnitsPerSecond(1.0),
        ),
        features=(),
        overrides=(),
    )
    return replace(policy, **changes)


def at_level(level: Level, policy: Policy | None = None, forced: Override | None = None) -> LevelNow:
    """The level in force, at the pressure at which it begins; `forced` is a person's word above it."""
    pressure = Pressure(ENTER.get(level, 0.5))
    law = LevelState(level=level, since=Instant(1000.0), risen=level, calm_since=None)
    return level_now(policy or a_policy(), law, Pressing(most=pressure, acute=pressure), forced, law.since)


def a_pool(name: str = "research", **changes: Any) -> Pool:
    lending = Lending(
        floor=2, floor_share=Share(0.0), max_loans=4, max_duration=Seconds(3600.0), borrower_labels={"team": "serving"}
    )
    pool = Pool(
        name=PoolName(name),
        uid=f"{name}-uid",
        labels={"workload": name},
        taints=(Taint(key="workload", value=name, effect="NoSchedule"),),
        lending=lending if name == "research" else None,
    )
    return replace(pool, **changes)


def a_node(name: str = "gpu-05", pool: str = "research", **changes: Any) -> NodeView:
    node = NodeView(
        name=NodeName(name),
        uid=str(uuid5(NAMESPACE_URL, name)),  # as the API gives them: no two begin alike
        labels={"workload": pool, "meltguard.io/managed": "true", "zone": "a"},
        annotations={"node.alpha.kubernetes.io/ttl": "0"},
        taints=(Taint(key="workload", value=pool, effect="NoSchedule"),),
        unschedulable=False,
        ready=True,
        gpus=Gpus(8),
        claim=None,
        claim_problem="",
        pods=(),
    )
    return replace(node, **changes)


def a_pod(name: str = "job-1", **changes: Any) -> PodView:
    pod = PodView(
        namespace="research",
        name=name,
        uid=PodUid(f"{name}-uid"),
        node=NodeName("gpu-05"),
        labels={},
        ip="127.0.0.9",
        running=True,
        ready=True,
        finished=False,
        terminating=False,
        gpus=Gpus(8),
        owner_kind="Job",
        owner_name="train",
        owner_uid="train-uid",
        gang="",
        mirror=False,
        resource_version="1",
        grace=Seconds(30.0),
        priority=0,
        started_at=Instant(0.0),
        keep="",
        keep_for=None,
        local_data=False,
        node_selector={},
        notice="",
        asked_at=None,
        evict_after=None,
        saved_at=None,
    )
    return replace(pod, **changes)


def a_job(name: str = "train", **changes: Any) -> Job:
    """The Job that owns the pods of `a_pod`; one more failure ends it."""
    job = Job(namespace="research", name=name, uid=f"{name}-uid", failures_left=0, forgives_disruption=False)
    return replace(job, **changes)


def claimed(node: NodeView, claim: Claim, text: str) -> NodeView:
    return replace(node, claim=claim, annotations={**node.annotations, CLAIM_ANNOTATION: text})


def a_load(number: int, offered: dict[TierName, float], waiting: dict[TierName, float], busy: float = 1.0) -> PodLoad:
    """One pod of one GPU, which completes one unit in a busy second."""
    return PodLoad(
        pod=PodUid(f"pod-{number}"),
        node=NodeName("gpu-01"),
        gpus=Gpus(1),
        age=Seconds(0.5),
        span=Seconds(2.0),
        busy=Share(busy),
        done=UnitsPerSecond(busy),
        in_flight=Units(1.0),
        tiers={
            name: TierLoad(
                offered=UnitsPerSecond(rate),
                admitted=UnitsPerSecond(rate),
                waiting=Units(waiting.get(name, 0.0)),
                wait_p99=Seconds(0.0),
            )
            for name, rate in offered.items()
        },
    )


def a_snapshot(
    offered: dict[TierName, float], waiting: dict[TierName, float] | None = None, **changes: Any
) -> Snapshot:
    """Eight pods of one GPU each over which the service's load is spread evenly, on fresh, cool, busy GPUs."""
    total = sum(offered.values())
    busy = min(1.0, total / 8)
    each = {name: rate / 8 for name, rate in offered.items()}
    queued = {name: units / 8 for name, units in (waiting or {}).items()}
    nodes = [a_node(f"gpu-0{n}", "inference") for n in (1, 2, 3)] + [a_node(f"gpu-0{n}") for n in (4, 5, 6, 7, 8)]
    snapshot = Snapshot(
        ready_pods=8,
        loads=tuple(a_load(number, each, queued, busy) for number in range(8)),
        readings=(
            Reading(signal="heat", value=60.0, age=Seconds(1.0)),
            Reading(signal="use", value=100.0 * busy, age=Seconds(1.0)),
        ),
        pools=assign([a_pool("inference"), a_pool()], nodes),
        loans=(),
        namespace_labels={"team": "serving"},
        workload=None,
        fleet_age=Seconds(1.0),
    )
    return replace(snapshot, **changes)
