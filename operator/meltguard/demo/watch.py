"""Looks at the run from outside, once a second: what the API server, Prometheus and the journals say now."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp
from pydantic import ValidationError

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.api.policy import ImageServicePolicy
from meltguard.api.policy_status import PolicyStatus
from meltguard.clock import SystemClock
from meltguard.core.fleet import NodeView, PodView
from meltguard.core.units import Seconds
from meltguard.demo.host_setup import AGENT_PORT
from meltguard.demo.scene import POOL_KEY, SERVICE, SERVING, node_names
from meltguard.demo.tail import JournalTail, TierNow
from meltguard.errors import MeltguardError

POLICY_PATH: Final = f"/apis/meltguard.io/v1alpha1/namespaces/{SERVING}/imageservicepolicies/{SERVICE}"
HOTTEST: Final = "max by (Hostname) (DCGM_FI_DEV_GPU_TEMP)"
BUSY: Final = "avg by (Hostname) (DCGM_FI_DEV_GPU_UTIL)"
ANSWER_WITHIN: Final = Seconds(2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNow:
    """One node."""

    name: str
    pool: str  # as its label says
    home: str  # where it belongs
    step: str  # of its move; "" where nobody moves it
    cordoned: bool
    serving: int  # ready serving pods
    starting: int
    other: int  # pods with GPUs that are not the service's
    hottest: float | None  # degrees Celsius
    busy: float | None  # per cent
    counted: float | None = None  # share of its GPUs' work that the limit document of a pod there counts on


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything at one moment."""

    nodes: tuple[NodeNow, ...]
    policy: PolicyStatus
    tiers: tuple[TierNow, ...]

    @property
    def loans(self) -> int:
        """Nodes under a claim."""
        return sum(bool(node.step) for node in self.nodes)


class Watch:
    """Takes pictures."""

    def __init__(self, api: KubernetesApi, fleet: KubernetesFleet, prometheus_url: str, journals: Path) -> None:
        self._api = api
        self._fleet = fleet
        self._prometheus_url = prometheus_url
        self._tail = JournalTail(journals)
        self._clock = SystemClock()

    async def picture(self, session: aiohttp.ClientSession) -> Picture:
        """How all looks now; what does not answer is left out of it."""
        hottest, busy, status = await asyncio.gather(
            self._by_node(session, HOTTEST), self._by_node(session, BUSY), self.policy()
        )
        self._tail.look()
        views = {str(node.name): node for node in self._fleet.view().nodes}
        counted = await self._counted(session, views)
        nodes = (
            replace(_node(views[name], hottest, busy), counted=counted.get(name))
            for name in node_names()
            if name in views
        )
        return Picture(nodes=tuple(nodes), policy=status, tiers=self._tail.tiers(self._clock.now()))

    async def _counted(self, session: aiohttp.ClientSession, views: Mapping[str, NodeView]) -> Mapping[str, float]:
        """What heat leaves of a node's GPUs, as the first pod that serves there was told; for nodes that serve."""
        serving = {name: [pod for pod in node.pods if is_serving(pod) and pod.ready] for name, node in views.items()}
        asked = {name: min(pods, key=_name).ip for name, pods in serving.items() if pods}
        told = await asyncio.gather(*(_heat(session, ip) for ip in asked.values()))
        return {name: heat for name, heat in zip(asked, told, strict=True) if heat is not None}

    async def policy(self) -> PolicyStatus:
        """The policy's status; empty while there is none."""
        try:
            body = await self._api.get(POLICY_PATH)
            return PolicyStatus() if body is None else ImageServicePolicy.model_validate_json(body).status
        except (MeltguardError, ValidationError):
            return PolicyStatus()

    def serving_pods(self) -> list[PodView]:
        """The service's pods, wherever they are."""
        return [pod for node in self._fleet.view().nodes for pod in node.pods if is_serving(pod)]

    def loans(self) -> int:
        """Nodes under a claim."""
        return sum(node.claim is not None or bool(node.claim_problem) for node in self._fleet.view().nodes)

    async def _by_node(self, session: aiohttp.ClientSession, query: str) -> Mapping[str, float]:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                url = f"{self._prometheus_url}/api/v1/query"
                async with session.get(url, params={"query": query}) as answer:
                    read: dict[str, Any] = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return {}
        series = read.get("data", {}).get("result", ())
        return {one["metric"].get("Hostname", ""): float(one["value"][1]) for one in series}


async def _heat(session: aiohttp.ClientSession, ip: str) -> float | None:
    """What an agent's limit document says of its GPUs' heat; None where it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            async with session.get(f"http://{ip}:{AGENT_PORT}/v1/load") as answer:
                read: dict[str, Any] = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return float(read["heat"])


def is_serving(pod: PodView) -> bool:
    """Whether it is one of the service's."""
    return pod.namespace == SERVING and pod.labels.get("app") == SERVICE


def _name(pod: PodView) -> str:
    return pod.name


def _node(node: NodeView, hottest: Mapping[str, float], busy: Mapping[str, float]) -> NodeNow:
    ours = [pod for pod in node.pods if is_serving(pod)]
    pool = node.labels.get(POOL_KEY, "")
    return NodeNow(
        name=node.name,
        pool=pool,
        home=node.claim.home if node.claim else pool,
        step=str(node.claim.step) if node.claim else "",
        cordoned=node.unschedulable,
        serving=sum(pod.ready and not pod.terminating for pod in ours),
        starting=sum(not pod.ready and not pod.terminating for pod in ours),
        other=sum(pod.gpus > 0 and not is_serving(pod) for pod in node.pods),
        hottest=hottest.get(node.name),
        busy=busy.get(node.name),
    )
