"""Whole runs of the demo as made-up evidence: one in which all promises are kept, and what was asked of it."""

from dataclasses import replace
from typing import Any, Final

import msgspec

from meltguard.agent.journal import JournalEntry
from meltguard.clock import rfc3339
from meltguard.core.fleet import Claim, Drain, MoveStep
from meltguard.core.loan_words import borrowed_words, home_words, lent_words, recalled_words
from meltguard.core.policy import Eviction, OnDeadline
from meltguard.core.units import Celsius, GpuHours, Instant, NodeName, Seconds, Share
from meltguard.demo.check.audit import Ref, Write
from meltguard.demo.check.cards import Glimpse, PodRef
from meltguard.demo.check.evidence import Evidence, Promises, Snapshot
from meltguard.demo.check.pods import PodSeen
from meltguard.demo.facts import Mark, RunFacts
from meltguard.demo.records import Result
from support.demo_evidence import (
    OURS,
    RESEARCH,
    a_claim,
    a_node,
    a_write,
    an_entry,
    an_eviction,
    fleet,
    node_write,
    refused,
)

START: Final = 1000.0
C: Final = NodeName("c")
D: Final = NodeName("d")
ON_LEVEL: Final = {
    "free": {"Elevated": "Delay", "Overloaded": "Reject", "Critical": "Suspend"},
    "plus": {"Overloaded": "Delay"},
}
PROMISES: Final = Promises(
    identity=OURS,
    lender="research",
    policy="image-gen",
    lender_labels=RESEARCH,
    lender_floor=2,
    free_floor=Share(0.02),
    wait_target=Seconds(2.5),
    owned_gpus=2,
    gpus_a_node=1,
    on_level=ON_LEVEL,
    hot_node="gpu-02",
)
TRAIN: Final = PodSeen(uid="t", namespace="research", name="train-0", node="a")
TOLD: Final = PodSeen(uid="u", namespace="research", name="tune-0", node="d")
FLEET: Final = fleet(a_node("a"), a_node("b"), a_node("c"), a_node("d"))
HOME: Final = Snapshot(fleet=FLEET, lenders_pods=(TRAIN, TOLD), updated=True)
LENT: Final[dict[str, Any]] = {
    "claim": a_claim(step=MoveStep.LENT),
    "labels": {"workload": "inference"},
    "taints": [],
    "epoch": 1,
}
SLOW_POD: Final = PodRef(node="gpu-03", name="image-gen-slow", uid="s1")


def loan() -> list[Write]:
    """An idle node, claimed before any tier is limited."""
    return [
        node_write(START + 10, "c", 10, claim=a_claim(), epoch=1),
        node_write(START + 18, "c", 11, **LENT),
        node_write(START + 86, "c", 38, claim=a_claim(step=MoveStep.RECALLED), epoch=1),
        node_write(START + 90, "c", 40, epoch=1),
    ]


def drained_loan() -> list[Write]:
    """A node whose work is told, saves, leaves, and whose node then serves."""
    told = Ref(resource="pods", namespace="research", name="tune-0")
    return [
        node_write(START + 27, "d", 30, claim=draining(MoveStep.NOTIFIED), epoch=1),
        a_write(START + 28, "patch", told, asked=annotation("meltguard.io/checkpoint-asked-at")),
        a_write(START + 33, "patch", told, asked=annotation("meltguard.io/checkpoint-saved-at"), user="trainer"),
        an_eviction(START + 38, "tune-0", "u"),
        node_write(START + 46, "d", 31, **{**LENT, "claim": draining(MoveStep.LENT)}),
        node_write(START + 92, "d", 41, epoch=1),
    ]


def draining(step: MoveStep) -> Claim:
    """A claim on a node whose work had to leave first."""
    eviction = Eviction(
        notice=Seconds(10.0),
        minimum_runtime=Seconds(0.0),
        deadline=Seconds(60.0),
        on_deadline=OnDeadline.GIVE_UP,
        loses_local_data=False,
        fails_jobs=False,
    )
    drain = Drain(eviction=eviction, deadline=Instant(60.0), work_lost=GpuHours(0.25), victims=("Job research/tune",))
    return replace(a_claim("m9", step), drain=drain)


def annotation(name: str) -> bytes:
    """A patch that sets an annotation."""
    return msgspec.json.encode({"metadata": {"annotations": {name: "then"}}})


NORMAL: Final[dict[str, Any]] = {"epoch": 1, "level": "Normal", "limits": [], "pressure": "0.60"}
SLOWED: Final = [{"name": "edit", "rollout": "50%", "cause": "level Elevated"}]
WHOLE: Final = [{"name": "edit", "rollout": "100%"}]
FREE_DELAYED: Final = [{"tier": "free", "state": "Delay", "rate": "12/m"}]
FREE_REJECTED: Final = [{"tier": "free", "state": "Reject", "rate": "6/m"}]
BORROWS: Final = {"rule": "pressure is high", "holds": True, "text": "pressure 1.10, loans start at 0.90"}
RELIEF: Final = "c of pool research relieves 1 of 2 missing GPUs (50%) and is idle"
PLAN: Final = {"rule": "a node fits", "holds": True, "text": RELIEF}
MOVING: Final = {"demand": "240/m", "capacity": "120/m", "rules": [BORROWS, PLAN]}
HELD: Final[dict[str, Any]] = {
    **NORMAL,
    "level": "Elevated",
    "pressure": "1.10",
    "features": SLOWED,
    "rollouts": {"state": "Held"},
    "decision": MOVING,
}
PRESSED: Final[dict[str, Any]] = {**HELD, "level": "Overloaded", "limits": FREE_REJECTED, "loanCount": 1}
TOLD_SO: Final = (
    (9, "LevelChanged", "Normal to Elevated: Elevated: demand 1.10 of capacity"),
    (9, "FeatureSlowed", "level Elevated leaves feature edit to 50% of users; it lifts when the level falls"),
    (9, "RolloutHeld", "level Elevated holds updates of the service; they go on when the level falls"),
    (10, "NodeBorrowed", borrowed_words(C, a_claim())),
    (
        11,
        "TierLimited",
        "tier free: Delay at 12/m; demand 4.00/s is more than 2.00/s; it lifts when it falls",
    ),
    (19, "NodeLent", lent_words(C, a_claim())),
    (20, "LevelChanged", "Elevated to Overloaded: Overloaded: demand 2.00 of capacity"),
    (
        20,
        "TierLimited",
        "tier free: Reject at 6/m; demand 4.00/s is more than 2.00/s; it lifts when it falls",
    ),
    (27, "NodeBorrowed", borrowed_words(D, draining(MoveStep.CLAIMED))),
    (30, "OverrideBegun", "free: Suspend; override: keynote (ann)"),
    (45, "OverrideEnded", "free: Suspend: its time is over; the law decides again"),
    (46, "NodeLent", lent_words(D, draining(MoveStep.LENT))),
    (47, "UpdateTried", "one pod is to run the update"),
    (55, "LevelChanged", "Overloaded to Elevated: Elevated: demand 0.80 of capacity"),
    (55, "TierLifted", "tier free is open again"),
    (60, "LevelChanged", "Elevated to Normal: calm"),
    (60, "FeatureRestored", "feature edit is back at 100% of users"),
    (60, "RolloutResumed", "updates of the service go on"),
    (86, "NodeRecalled", recalled_words(C, replace(a_claim(), why="the service stayed calm for 10 s"))),
    (90, "NodeReturned", home_words(C, a_claim().home)),
    (92, "NodeReturned", home_words(D, a_claim().home)),
)


def measures(at: float, **told: object) -> Write:
    """A status, as that of a calm service but for what is told."""
    return status_write(at, {**NORMAL, **told})


def the_ladder() -> list[Write]:
    """Features and updates first, a loan, then the free tier; an override; another term; all of it lifted."""
    word = [{"sets": "free: Suspend"}]
    suspended = [{"tier": "free", "state": "Suspend", "rate": "0.0/m"}]
    steps: tuple[tuple[float, dict[str, Any]], ...] = (
        (1, {**NORMAL, "features": WHOLE}),
        (9, HELD),
        (10, {**HELD, "loanCount": 1}),
        (11, {**HELD, "loanCount": 1, "limits": FREE_DELAYED}),
        (20, PRESSED),
        (27, PRESSED),
        (30, {**PRESSED, "overrides": word, "limits": suspended}),
        (46, PRESSED),
        (47, {**PRESSED, "rollouts": {"state": "Trying"}}),
        (50, {**PRESSED, "epoch": 2, "why": "Overloaded: demand 2.00 of capacity; nodes: 2 borrowed"}),
        (55, {**HELD, "epoch": 2}),
        (60, {**NORMAL, "features": WHOLE, "epoch": 2}),
        (93, {**NORMAL, "features": WHOLE, "epoch": 2}),
    )
    return [status_write(at, {**status, "history": history(at)}) for at, status in steps]


def history(at: float) -> list[dict[str, str]]:
    """What a status remembers by then, the newest first."""
    told = [(when, reason, text) for when, reason, text in TOLD_SO if when <= at]
    return [{"at": rfc3339(Instant(START + w)), "reason": r, "text": t} for w, r, t in reversed(told)][:20]


def status_write(at: float, status: dict[str, object]) -> Write:
    """The operator's write of a status."""
    ref = Ref(resource="imageservicepolicies", subresource="status", name="image-gen", namespace="serving")
    return a_write(START + at, "patch", ref, after=msgspec.json.encode({"status": status}))


def work_of(pod: str, requests: int, took: float) -> list[JournalEntry]:
    """What one pod of gpu-03 took."""
    times = [START + 1 + i * 40.0 / requests for i in range(requests)]
    return [an_entry(at, pod=pod, user=f"{pod}-{at}", tier="pro", took=Seconds(took)) for at in times]


def a_good_run() -> Evidence:
    """The whole story, every promise kept."""
    own = (
        *(an_entry(START + i, user=f"free-{i}") for i in range(10)),
        *(an_entry(START + 8 + i * 0.1, user=f"free-w{i}", wait=Seconds(4.0)) for i in range(6)),
        an_entry(START + 11, user="free-11", state="Delay", rate=0.2),
        refused(START + 12, "over-rate", state="Delay", rate=0.2),
        an_entry(START + 50, user="free-50"),
    )
    cards = [*work_of("s1", 6, 3.4), *work_of("p2", 10, 2.0), *work_of("p3", 11, 2.0)]
    return Evidence(
        promises=PROMISES,
        surge_at=Instant(START),
        before=HOME,
        after=HOME,
        writes=tuple(sorted((*loan(), *drained_loan(), *the_ladder()), key=_time)),
        journals={
            "gpu-01": own,
            "gpu-03": tuple(cards),
            "c": (an_entry(START + 25, user="free-c", tier="plus"),),
        },
        results=tuple(result(0.004) for _ in range(18)),
        ack_p99=Seconds(0.3),
        glimpses=glimpses(),
        slow_pod=SLOW_POD,
    )


def glimpses() -> tuple[Glimpse, ...]:
    """One node that grows hot, and one that does not."""
    return tuple(
        Glimpse(at=Instant(START + at), node=node, hottest=Celsius(degrees), counted=Share(counted))
        for at, node, degrees, counted in (
            (0, "gpu-01", 60.0, 1.0),
            (0, "gpu-02", 62.0, 1.0),
            (15, "gpu-01", 78.0, 1.0),
            (15, "gpu-02", 88.0, 0.75),
        )
    )


def _time(write: Write) -> Instant:
    return write.at


def result(lag: float) -> Result:
    """One request that went well for its user."""
    return Result(key="k", user="u", tier="free", images=1, scheduled=0.0, lag=lag, tries=1, status=200)


def facts(evidence: Evidence) -> RunFacts:
    """Of such a run."""
    return RunFacts(
        surge_at=evidence.surge_at,
        speed=12.0,
        seed=1,
        source="made",
        floor=2,
        ack_p99=evidence.ack_p99,
        files={},
        acts=(
            Mark(at=Instant(START + 10.5), name="ships", text="the image becomes image-gen:3.3"),
            Mark(at=Instant(START + 30), name="overrides", text="ann suspends the free tier"),
            Mark(at=Instant(START + 47), name="killed", text="its process gets SIGKILL"),
        ),
    )
