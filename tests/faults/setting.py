"""The scene of a run, set before it and cleared after it."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from faults import world
from faults.evidence import Node, node_of
from faults.ground import Ground
from faults.rest import path_of
from faults.scenario import NODES, Case, Stage
from meltguard.api.recall import RECALL_ANNOTATION, RecallText, write_recall
from meltguard.clock import rfc3339
from meltguard.core.units import Instant
from meltguard.errors import MeltguardError

LOOK: Final = 0.2
KINDS: Final = "/apis/meltguard.io/v1alpha1"


@dataclass(frozen=True, slots=True)
class Setting:
    """One ground's fleet."""

    ground: Ground

    async def set(self, case: Case, stage: Stage) -> str:
        """Nodes, pools, jobs, then the faults, then whatever the case prepares; what went wrong with that, or ""."""
        ground = self.ground
        ground.agents.ask(0.0)
        await self._people(case, stage)
        if case.fresh:
            for operator in ground.operators.values():
                operator.hold()
                await operator.kill()
        ground.proxy.forget_lists()
        ground.proxy.arm(*case.rules(stage))
        problem = await case.prepare(stage) if case.prepare is not None else ""
        for operator in ground.operators.values():
            operator.failed_probes.clear()
        ground.operator.go_on()
        if not case.fresh:
            await ground.operator.up()
        return problem

    async def _people(self, case: Case, stage: Stage) -> None:
        """The fleet, and the research on it."""
        admin = self.ground.admin
        for name in stage.names:
            await admin.apply(world.a_node(name, "research"))
        for pool in world.pools(case.shape):
            await admin.apply(pool)
        for name in stage.names if case.shape.busy else ():
            await admin.create(world.a_job(name))
        await until(lambda: self._is_set(case, stage), 30.0)

    async def is_set(self, names: Iterable[str]) -> bool:
        """Whether these nodes are ready and settled, and the service's pods are there."""
        there = await self.nodes()
        ready = all(name in there and there[name].ready and settled(there[name]) for name in names)
        return ready and len(self.ground.agents) == world.SERVERS

    async def _is_set(self, case: Case, stage: Stage) -> bool:
        bodies = await self.ground.admin.items(f"/api/v1/namespaces/{world.RESEARCH}/pods")
        running = sum(body["status"].get("phase") == "Running" for body in bodies)
        wanted = len(stage.names) if case.shape.busy else 0
        return running >= wanted and await self.is_set(stage.names)

    async def clear(self, *, broken: bool) -> None:
        """Back to the empty fleet; after a broken run the operator starts anew, and nothing keeps an object alive."""
        admin = self.ground.admin
        self.ground.proxy.disarm()
        self.ground.agents.silent = False
        self.ground.agents.ask(0.0)
        for kind in ("imageservicepolicies", "gpupools"):
            for body in await admin.items(f"{KINDS}/{kind}"):
                await self._force_away(body, kind)
        for kind in ("jobs", "poddisruptionbudgets", "daemonsets", "pods"):
            await admin.kubectl("delete", kind, "--all", f"--namespace={world.RESEARCH}", "--grace-period=0", "--force")
        for name in await self.nodes():
            if name.startswith("research"):
                await admin.delete(f"{NODES}/{name}")
        await admin.merge(path_of(world.deployment()), {"spec": {"replicas": world.SERVERS}})
        if broken:
            await self.ground.operator.kill()
        await until(self._is_clear, 30.0)

    async def _is_clear(self) -> bool:
        research = [name for name in await self.nodes() if name.startswith("research")]
        return not research and len(self.ground.agents) == world.SERVERS

    async def _force_away(self, body: dict[str, Any], kind: str) -> None:
        metadata = body["metadata"]
        space = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        path = f"{KINDS}{space}/{kind}/{metadata['name']}"
        with contextlib.suppress(MeltguardError):  # it is gone already
            await self.ground.admin.delete(path)
            await self.ground.admin.merge(path, {"metadata": {"finalizers": None}})

    async def nodes(self) -> dict[str, Node]:
        """The fleet as it is."""
        return {node.name: node for node in map(node_of, await self.ground.admin.items(NODES))}

    async def claims(self) -> dict[str, dict[str, Any]]:
        """By the nodes that bear one."""
        return {name: node.claim for name, node in (await self.nodes()).items() if node.claim is not None}

    async def lends(self, *names: str) -> bool:
        """Whether these nodes are lent, and no other is on its way anywhere."""
        claims = await self.claims()
        return claims.keys() == set(names) and all(claim["step"] == "Lent" for claim in claims.values())

    async def recall(self, lender: str, at: Instant) -> None:
        """A person of the lender's wants all nodes back that were claimed before."""
        order = write_recall(RecallText(before=rfc3339(at), reason="a paper is due"))
        notes = {"metadata": {"annotations": {RECALL_ANNOTATION: order}}}
        await self.ground.admin.merge(path_of(world.a_pool(lender, {})), notes)


def settled(node: Node) -> bool:
    """Whether Kubernetes has taken its own taints of a new node off."""
    return not any(key.startswith("node.kubernetes.io/") for key, _, _ in node.taints)


async def until(holds: Callable[[], Awaitable[bool]], within: float) -> bool:
    """Whether it came true in time, in seconds. The API server may be away meanwhile."""
    ends = time.monotonic() + within
    while time.monotonic() < ends:
        with contextlib.suppress(MeltguardError):
            if await holds():
                return True
        await asyncio.sleep(LOOK)
    return False
