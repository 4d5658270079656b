"""The cluster as the decision sees it: nodes and pods mirrored together, and one node read anew before a write."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final, NoReturn

import msgspec

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.guards_shape import read_budget, read_job
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_list import read_all
from meltguard.adapters.pod_shape import read_pod
from meltguard.adapters.reflector import USUAL, Changes, Reflector, Resource, Timing
from meltguard.core.fleet import Budget, FleetView, Guards, Job, NodeView, PodView, by_namespace
from meltguard.core.pledged import pledged_pods
from meltguard.core.units import NodeName, Seconds
from meltguard.errors import Unavailable
from meltguard.ports import Clock

NODES: Final = "/api/v1/nodes"
PODS: Final = "/api/v1/pods"
BUDGETS: Final = "/apis/policy/v1/poddisruptionbudgets"
JOBS: Final = "/apis/batch/v1/jobs"


class KubernetesFleet:
    """Fleet over the API server; `run` must be running for `view` to be of use."""

    def __init__(self, api: KubernetesApi, clock: Clock, timing: Timing = USUAL) -> None:
        self.changes = Changes()
        self._api = api
        nodes = Resource(path=NODES, decode=read_node, key=lambda node: node.uid)
        pods = Resource(path=PODS, decode=read_pod, key=lambda pod: str(pod.uid))
        self._nodes: Reflector[NodeView] = Reflector(api, nodes, self.changes, clock, timing)
        self._pods: Reflector[PodView] = Reflector(api, pods, self.changes, clock, timing)
        budgets = Resource(path=BUDGETS, decode=read_budget, key=lambda budget: budget.uid)
        jobs = Resource(path=JOBS, decode=read_job, key=lambda job: job.uid)
        self._budgets: Reflector[Budget] = Reflector(api, budgets, self.changes, clock, timing)
        self._jobs: Reflector[Job] = Reflector(api, jobs, self.changes, clock, timing)
        self._joined: tuple[int, FleetView] | None = None
        self._joiner = Joiner()
        self._places: tuple[int, dict[str, NodeName]] = (-1, {})

    @property
    def age(self) -> Seconds:
        """Since the quietest mirror proved itself alive; infinite before all are complete."""
        return Seconds(max(self._nodes.age, self._pods.age, self._budgets.age, self._jobs.age))

    @property
    def problem(self) -> str:
        """Why a mirror is interrupted; "" while all are well."""
        health = (self._nodes.health, self._pods.health, self._budgets.health, self._jobs.health)
        return next((one.problem for one in health if one.problem), "")

    async def run(self) -> NoReturn:
        """Mirror until cancelled."""
        async with asyncio.TaskGroup() as mirrors:
            mirrors.create_task(self._nodes.run(), name="mirror-nodes")
            mirrors.create_task(self._pods.run(), name="mirror-pods")
            mirrors.create_task(self._budgets.run(), name="mirror-budgets")
            mirrors.create_task(self._jobs.run(), name="mirror-jobs")
        raise AssertionError("mirrors end only by cancellation")

    async def synced(self) -> None:
        """Return once everything has been read completely. Put a time limit around it."""
        await self._nodes.synced()
        await self._pods.synced()
        await self._budgets.synced()
        await self._jobs.synced()

    def view(self) -> FleetView:
        """The cluster as the watch last saw it: a hint. Joined anew only where something changed."""
        version = self.changes.version
        if self._joined is None or self._joined[0] != version:
            joined = self._joiner.join(self._nodes.snapshot().values(), self._pods.snapshot().values())
            guards = Guards(
                budgets=tuple(self._budgets.snapshot().values()),
                jobs=tuple(self._jobs.snapshot().values()),
                pledged=pledged_pods(joined.nodes),
            )
            self._joined = (version, replace(joined, guards=guards))
        return replace(self._joined[1], age=self.age)

    def locate(self, text: str) -> NodeName | None:
        """The node that a metric's label means: a node's name, or a pod's name or address on it; None if unknown."""
        if self._places[0] != self.changes.version:
            self._places = (self.changes.version, _places(self.view()))
        return self._places[1].get(text)

    async def fresh(self, node: NodeName) -> NodeView | None:
        """One node and its pods, read anew with a quorum; None where it is gone. The mirror learns of the node.

        Else a lost event would leave everyone who reads the view, our own writes in it, behind until the next list.

        Raises:
            Unavailable: the API server did not answer, or not in a shape that we can read.
        """
        heard = self._nodes.heard
        body = await self._api.get(f"{NODES}/{node}")
        if body is None:
            self._nodes.learn(None, lambda known: known.name == node, heard)
            return None
        try:
            found = read_node(body)
        except msgspec.DecodeError as exc:
            raise Unavailable(f"node {node} cannot be read ({exc}); report this with the node's YAML") from exc
        self._nodes.learn(found, lambda known: known.name == node, heard)
        bound = await read_all(self._api, PODS, read_pod, {"fieldSelector": f"spec.nodeName={node}"})
        return replace(found, pods=tuple(bound.items))

    async def members(self, labels: Mapping[str, str]) -> tuple[NodeView, ...]:
        """The nodes that carry these labels, without their pods, read anew with a quorum. Raises as `fresh`."""
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in sorted(labels.items()))}
        return tuple((await read_all(self._api, NODES, read_node, query)).items)

    async def guards(self, namespaces: frozenset[str]) -> Guards:
        """Budgets and Jobs of these namespaces, read anew with a quorum. Raises as `fresh`."""
        budgets: list[Budget] = []
        jobs: list[Job] = []
        for namespace in sorted(namespaces):
            budgets += (await read_all(self._api, _within(BUDGETS, namespace), read_budget)).items
            jobs += (await read_all(self._api, _within(JOBS, namespace), read_job)).items
        return Guards(budgets=tuple(budgets), jobs=tuple(jobs))


def _within(path: str, namespace: str) -> str:
    """The same list, of one namespace."""
    group, plural = path.rsplit("/", 1)
    return f"{group}/namespaces/{namespace}/{plural}"


class Joiner:
    """Puts pods on nodes. What is as it was is taken from the last time: of thousands of nodes, few change at once."""

    def __init__(self) -> None:
        self._last: dict[NodeName, tuple[NodeView, NodeView]] = {}  # each node as mirrored, and with its pods

    def join(self, nodes: Collection[NodeView], pods: Iterable[PodView]) -> FleetView:
        """Put each pod on its node. A pod whose node is not known (yet, or any more) counts on no node."""
        by_node: dict[NodeName, list[PodView]] = {node.name: [] for node in nodes}
        pending: list[PodView] = []
        for pod in pods:
            by_node.get(pod.node, pending).append(pod)
        ordered = sorted(nodes, key=lambda node: node.name)
        self._last = {node.name: (node, self._on(node, tuple(by_node[node.name]))) for node in ordered}
        joined = tuple(whole for _, whole in self._last.values())
        spaces = by_namespace(joined, pending)
        return FleetView(nodes=joined, pending=tuple(pending), spaces=spaces, age=Seconds(0.0))

    def _on(self, node: NodeView, pods: tuple[PodView, ...]) -> NodeView:
        mirrored, whole = self._last.get(node.name, (None, node))
        return whole if mirrored is node and whole.pods == pods else replace(node, pods=pods)


def _places(view: FleetView) -> dict[str, NodeName]:
    """Every text that leads to a node; a node's own name wins over a pod's."""
    places: dict[str, NodeName] = {}
    for node in view.nodes:
        for pod in node.pods:
            if not pod.finished:  # its address may be another pod's by now
                places[pod.name] = node.name
                places[pod.ip] = node.name
    places.update({str(node.name): node.name for node in view.nodes})
    places.pop("", None)
    return places
