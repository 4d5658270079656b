"""After the run: gather what others wrote down, have it checked, write the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from meltguard.agent.journal import JournalEntry
from meltguard.api.quantities import parse_share
from meltguard.clock import SystemClock
from meltguard.core.units import Celsius, Instant, Seconds, Share
from meltguard.demo import cluster, scene
from meltguard.demo.ack import HISTOGRAM, histogram_quantile, read_metrics
from meltguard.demo.check.audit import read_audit
from meltguard.demo.check.cards import Glimpse, PodRef
from meltguard.demo.check.evidence import Evidence, Promises, Snapshot, read_journals, read_results
from meltguard.demo.checker import Findings, check
from meltguard.demo.facts import Mark, RunFacts
from meltguard.demo.files import keep
from meltguard.demo.gpu import Flaw
from meltguard.demo.install import IDENTITY
from meltguard.demo.monitoring import METRICS_PORT, pod_on, unanswered
from meltguard.demo.records import first_line
from meltguard.demo.report import report, rows, write
from meltguard.demo.scene import INFERENCE
from meltguard.demo.stage import Stage
from meltguard.demo.watch import Picture
from meltguard.errors import Unavailable

BENCH: Final = Path("build/bench/demo.json")
DEPLOYMENT: Final = f"/apis/apps/v1/namespaces/{scene.SERVING}/deployments/{scene.SERVICE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A run's outcome."""

    found: Findings
    facts: RunFacts
    journals: Mapping[str, tuple[JournalEntry, ...]]  # by node


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the demo itself saw of the run."""

    before: Snapshot
    surge_at: Instant
    album: Sequence[tuple[Seconds, Picture]]
    marks: tuple[Mark, ...]


async def snapshot(stage: Stage) -> Snapshot:
    """The nodes and the lender's work, as the API server has them now."""
    return Snapshot(
        fleet=await cluster.nodes(stage.api, scene.node_names()),
        lenders_pods=await cluster.pods_of(stage.api, scene.RESEARCH),
        updated=await _updated(stage),
    )


class Shipped(msgspec.Struct, frozen=True, rename="camel"):
    """How far a Deployment's update is."""

    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0


class Paused(msgspec.Struct, frozen=True):
    """Whether updates wait."""

    paused: bool = False


class Deployment(msgspec.Struct, frozen=True):
    """As much of a Deployment as tells whether its update is through."""

    spec: Paused = Paused()
    status: Shipped = Shipped()


async def _updated(stage: Stage) -> bool:
    body = await stage.api.get(DEPLOYMENT)
    if body is None:
        return False
    found = msgspec.json.decode(body, type=Deployment)
    here = found.status
    return not found.spec.paused and here.updated_replicas == here.ready_replicas == here.replicas > 0


async def judge(stage: Stage, run: Seen) -> Judged:
    """Check the run and write its report.

    Raises:
        InvalidInput: a file of the run is not what it must be.
        Unavailable: the API server does not answer.
    """
    after = await snapshot(stage)
    silent = await unanswered(stage.plane.prometheus_url, (run.surge_at, SystemClock().now()))
    ack = await _acknowledgements(stage)
    keep(stage.files, stage.plane.audit_log, (stage.plane.logs, stage.plane.pod_logs))
    _, results = read_results(stage.files.users)
    slow = scene.card_with(Flaw.SLOW)
    evidence = Evidence(
        promises=_promises(stage),
        surge_at=run.surge_at,
        before=run.before,
        after=after,
        writes=read_audit(stage.files.audit),
        journals=read_journals(stage.files.journals),
        results=results,
        ack_p99=ack,
        silent_queries=silent,
        glimpses=tuple(_glimpses(run)),
        slow_pod=_pod_ref(stage, slow[0], await pod_on(stage.plane.prometheus_url, slow, run.surge_at)),
    )
    judged = Judged(found=check(evidence), facts=_facts(stage, evidence, run.marks), journals=evidence.journals)
    write(stage.files.report, report(judged.found, judged.facts))
    write(BENCH, [row.as_json() for row in rows(judged.found, judged.facts)])
    return judged


def _pod_ref(stage: Stage, node: str, name: str) -> PodRef | None:
    """The pod as its own journal names it; None where it wrote none."""
    told = first_line(stage.files.journals / node / f"{name}.jsonl")
    return None if told is None else PodRef(node=node, name=name, uid=JournalEntry.parse(told.decode()).pod)


def _glimpses(run: Seen) -> Iterator[Glimpse]:
    """Of the nodes that are the service's own."""
    for elapsed, picture in run.album:
        for node in picture.nodes:
            if node.home == node.pool == INFERENCE:
                hottest = None if node.hottest is None else Celsius(node.hottest)
                counted = None if node.counted is None else Share(node.counted)
                yield Glimpse(at=Instant(run.surge_at + elapsed), node=node.name, hottest=hottest, counted=counted)


def _promises(stage: Stage) -> Promises:
    return Promises(
        identity=IDENTITY,
        policy=scene.SERVICE,
        lender_labels={scene.POOL_KEY: "research"},
        lender_floor=scene.RESEARCH_FLOOR,
        lender=scene.RESEARCH,
        free_floor=parse_share(scene.FREE_FLOOR),
        wait_target=Seconds(scene.WAIT_TARGET / stage.options.speed),
        owned_gpus=scene.INFERENCE_NODES * scene.GPUS_A_NODE,
        gpus_a_node=scene.GPUS_A_NODE,
        on_level={str(tier["name"]): tier.get("onLevel", {}) for tier in scene.tiers(stage.pace)},
        hot_node=scene.card_with(Flaw.HOT)[0],
    )


def _facts(stage: Stage, evidence: Evidence, marks: tuple[Mark, ...]) -> RunFacts:
    files = stage.files
    return RunFacts(
        surge_at=evidence.surge_at,
        speed=stage.options.speed,
        seed=stage.options.seed,
        source=stage.drawn.source,
        floor=scene.RESEARCH_FLOOR,
        ack_p99=evidence.ack_p99,
        files={"audit": str(files.audit), "journals": str(files.journals), "users": str(files.users)},
        acts=marks,
    )


async def _acknowledgements(stage: Stage) -> Seconds | None:
    """The p99 over the operator's pods that answer; None where none does."""
    pods = stage.pods(lambda pod: pod.namespace == scene.OPERATOR and pod.ready)
    found: list[Seconds] = []
    for pod in pods:
        try:
            text = await read_metrics(f"http://{pod.ip}:{METRICS_PORT}/metrics")
        except Unavailable:
            continue  # it shows in the report as null, which is not met
        p99 = histogram_quantile(text, HISTOGRAM, Share(0.99))
        if p99 is not None:
            found.append(p99)
    return max(found, default=None)
