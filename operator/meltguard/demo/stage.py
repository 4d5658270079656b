"""Builds the scene on a plane, one part after the other, each waited for."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.api.policy_status import PolicyStatus
from meltguard.core.fleet import PodView
from meltguard.core.units import Seconds, Share
from meltguard.demo import cluster, research, scene
from meltguard.demo.files import RunFiles
from meltguard.demo.host_setup import DCGM_PORT, HostNode, HostSetup
from meltguard.demo.install import install
from meltguard.demo.people import rights
from meltguard.demo.records import ENCODER
from meltguard.demo.watch import Watch, is_serving
from meltguard.errors import Unavailable
from meltguard.localcluster.plane import Plane
from meltguard.localcluster.progress import Progress
from meltguard.sim.recorded import traces_beside_checkout
from meltguard.sim.recording import Recording

READY_WITHIN: Final = Seconds(90.0)
SAYS_WITHIN: Final = Seconds(60.0)
ASK_EVERY: Final = Seconds(0.5)
MEDIAN: Final = Share(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user asked for."""

    speed: float
    seed: int
    keep: bool
    headless: bool
    report: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A plane and what is needed to work on it."""

    options: Options
    plane: Plane
    helm: Path
    files: RunFiles
    api: KubernetesApi
    fleet: KubernetesFleet
    drawn: Recording
    progress: Progress

    @property
    def pace(self) -> scene.Pace:
        """What the policy's durations become. One pod loads its model as long as another: the median."""
        return scene.Pace(speed=self.options.speed, model_load=Seconds(self.drawn.model_load.at(MEDIAN)))

    def pods(self, wanted: Callable[[PodView], bool]) -> list[PodView]:
        """The pods on any node that answer a description, as the mirror has them."""
        return [pod for node in self.fleet.view().nodes for pod in node.pods if wanted(pod)]


async def build_nodes(stage: Stage) -> None:
    """The GPU nodes of both pools, with what runs on every node."""
    stage.progress.begin(f"{len(scene.node_names())} GPU nodes join")
    for made in (*scene.namespaces(), rights(), *scene.gpu_nodes(), scene.exporters()):
        await cluster.create(stage.api, made)
    names = set(scene.node_names())
    await cluster.until(
        stage.fleet,
        lambda: sum(node.ready for node in stage.fleet.view().nodes if node.name in names) == len(names),
        READY_WITHIN,
        f"{len(names)} GPU nodes to be Ready (kwok makes them so; see {stage.files.logs})",
    )
    stage.progress.end("Ready")


def write_host_setup(stage: Stage) -> Path:
    """What the serving hosts are started with; Prometheus is told where their exporters will be."""
    nodes = tuple(
        HostNode(
            name=name,
            gpus=scene.GPUS_A_NODE,
            dcgm=stage.plane.address(number),
            flaws=dict(scene.FLAWS.get(name, {})),
        )
        for number, name in enumerate(scene.node_names())
    )
    traces = traces_beside_checkout()
    setup = HostSetup(
        nodes=nodes,
        kubeconfig=str(stage.plane.kubeconfig),
        namespace=scene.SERVING,
        policy=scene.SERVICE,
        app=scene.SERVICE,
        operator_namespace=scene.OPERATOR,
        valkey_url=stage.plane.valkey_url,
        directory=str(stage.files.root),
        speed=stage.options.speed,
        seed=stage.options.seed,
        wait_target=scene.WAIT_TARGET / stage.options.speed,
        traces=str(traces) if traces else None,
    )
    targets = [{"targets": [f"{node.dcgm}:{DCGM_PORT}" for node in nodes], "labels": {"job": "dcgm-exporter"}}]
    (stage.plane.prometheus_targets / "dcgm.json").write_text(json.dumps(targets), encoding="utf-8")
    path = stage.files.setup("hosts")
    path.write_bytes(ENCODER.encode(setup))
    return path


async def install_operator(stage: Stage) -> None:
    """The chart by helm, then wait for the operator to be Ready under its own ServiceAccount."""
    stage.progress.begin("helm installs the operator")
    await asyncio.to_thread(install, stage.plane, stage.helm, stage.files.root)
    stage.progress.update("waiting for its pod")
    await cluster.until(
        stage.fleet,
        lambda: bool(stage.pods(lambda pod: pod.namespace == scene.OPERATOR and pod.ready)),
        READY_WITHIN,
        f"the operator's pod to be Ready; what it says is in {stage.files.logs}",
    )
    stage.progress.end("Ready")


async def start_work(stage: Stage) -> None:
    """Research trains on some of its nodes, the service fills those of inference."""
    wanted = scene.INFERENCE_NODES * scene.GPUS_A_NODE
    stage.progress.begin(f"{wanted} serving pods load their model, research works on {research.BUSY_NODES} nodes")
    for made in (*research.work(), scene.deployment(stage.pace)):
        await cluster.create(stage.api, made)
    await cluster.until(
        stage.fleet,
        lambda: (
            len(stage.pods(lambda pod: is_serving(pod) and pod.ready)) == wanted
            and len(stage.pods(lambda pod: pod.namespace == scene.RESEARCH and pod.ready)) == research.BUSY_NODES
        ),
        READY_WITHIN,
        f"{wanted} serving and {research.BUSY_NODES} research pods to be Ready",
    )
    stage.progress.end("Ready")


async def apply_policy(stage: Stage, watch: Watch) -> None:
    """Pools and policy, then wait until every serving pod has acknowledged its first limits."""
    stage.progress.begin("the policy and two pools are applied")
    for made in (*scene.pools(stage.pace), scene.policy(stage.pace)):
        await cluster.create(stage.api, made)
    status = PolicyStatus()
    try:
        async with asyncio.timeout(SAYS_WITHIN):
            while not all_acknowledged(status):
                await asyncio.sleep(ASK_EVERY)  # asked, not watched: a status of one object, at start only
                status = await watch.policy()
                stage.progress.update(f"limits acknowledged by {status.acknowledged or 'nobody yet'}")
    except TimeoutError as exc:
        raise Unavailable(
            f"limits are acknowledged by {status.acknowledged or 'nobody'} after {SAYS_WITHIN:.0f} s; the operator: "
            f"{status.why or 'nothing'}; the logs are in {stage.files.root}"
        ) from exc
    stage.progress.end(f"acknowledged by {status.acknowledged}")


def all_acknowledged(status: PolicyStatus) -> bool:
    """Whether every pod of a service with pods has acknowledged the limits in force."""
    have, _, of = (status.acknowledged or "").partition("/")
    return have == of and have not in {"", "0"}
