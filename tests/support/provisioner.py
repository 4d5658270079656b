"""A node provisioner: objects of a kind of ours with /scale, and nodes that kwok plays, made after a while or never."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from faults import world
from faults.rest import Admin
from meltguard.adapters.kubernetes_client import PatchKind
from meltguard.errors import Conflict, MeltguardError

GROUP, SPACE = "machines.example.com", "default"
GROUPS = f"/apis/{GROUP}/v1/namespaces/{SPACE}/nodegroups"
MADE_BY = "machines.example.com/group"
LEAVING = "meltguard.io/leaving"
REFUSED_BY = "NoStock"
"""Condition of a group that says, while True, that there is no capacity."""

LOOK = 0.3

_INTEGER = {"type": "integer", "minimum": 0}
_CONDITIONS = {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"nodegroups.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": "NodeGroup", "plural": "nodegroups", "singular": "nodegroup"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"replicas": _INTEGER}},
                            "status": {
                                "type": "object",
                                "properties": {"replicas": _INTEGER, "conditions": _CONDITIONS},
                            },
                        },
                    }
                },
            }
        ],
    },
}


async def served(admin: Admin) -> None:
    """The kind exists."""
    with contextlib.suppress(Conflict):  # it does already
        await admin.api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json.dumps(CRD).encode())
    await admin.kubectl("wait", "--for=condition=Established", "crd", f"nodegroups.{GROUP}", "--timeout=60s")


def group_path(name: str) -> str:
    """Where a group is."""
    return f"{GROUPS}/{name}"


async def a_group(admin: Admin, name: str, replicas: int = 0) -> None:
    """One object that makes nodes."""
    body = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "NodeGroup",
        "metadata": {"name": name, "namespace": SPACE},
        "spec": {"replicas": replicas},
    }
    await admin.api.post(GROUPS, json.dumps(body).encode())


def quiet_zone() -> str:
    """A time zone in which no day ends soon: hours that are paid ahead stay in this one."""
    return "Etc/GMT+12" if time.gmtime().tm_hour >= 12 else "UTC"


async def replicas(admin: Admin, name: str) -> int:
    """What is wanted of it."""
    found = await admin.get(f"{GROUPS}/{name}")
    assert found is not None
    return int(found["spec"].get("replicas", 0))


@dataclass
class Machine:
    """What becomes a node, or never does."""

    name: str
    ready_at: float | None  # None: it never comes
    ordered_at: float = field(default_factory=time.monotonic)
    gone_at: float | None = None  # None: it is there, or still coming

    def hours(self, now: float) -> float:
        """For which it is paid: a provider bills from the order until the machine is gone."""
        return ((now if self.gone_at is None else self.gone_at) - self.ordered_at) / 3600.0

    def was_there(self, at: float) -> bool:
        """Whether it was there or coming at that moment."""
        return self.ordered_at <= at and (self.gone_at is None or self.gone_at > at)


@dataclass
class Provisioner:
    """Keeps as many machines as each group wants; it removes only what is marked, or never came."""

    admin: Admin
    delay: float = 1.0  # seconds until a node is there
    fails: dict[str, int] = field(default_factory=dict)  # group to n: each nth order never comes
    machines: dict[str, list[Machine]] = field(default_factory=dict)
    ordered: dict[str, list[Machine]] = field(default_factory=dict)  # ever
    wrong: list[str] = field(default_factory=list)  # what it had to do that nobody asked for

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            with contextlib.suppress(MeltguardError):  # a conflict: at the next look
                for group in await self.admin.items(GROUPS):
                    await self._look(group)
            await asyncio.sleep(LOOK)

    def bill(self, group: str, price: float) -> float:
        """What its machines have cost so far, at so much an hour each; what never came is billed too."""
        now = time.monotonic()
        return sum(machine.hours(now) for machine in self.ordered.get(group, ())) * price

    def most_at_once(self, group: str) -> int:
        """Machines that were there or coming at the same time."""
        ordered = self.ordered.get(group, [])
        return max((sum(one.was_there(new.ordered_at) for one in ordered) for new in ordered), default=0)

    async def refuse(self, group: str, why: str) -> None:
        """Say from now on that there is no capacity; "" takes it back."""
        said = {"type": REFUSED_BY, "status": "True" if why else "False", "reason": "Stock", "message": why}
        status = {"status": {"conditions": [said]}}
        await self.admin.api.patch(f"{GROUPS}/{group}/status", json.dumps(status).encode(), PatchKind.MERGE)

    async def nodes(self, group: str) -> list[dict[str, Any]]:
        """The nodes that it made."""
        nodes = await self.admin.items("/api/v1/nodes")
        return [node for node in nodes if node["metadata"]["labels"].get(MADE_BY) == group]

    async def _look(self, group: dict[str, Any]) -> None:
        name, wanted = group["metadata"]["name"], group["spec"].get("replicas", 0)
        machines = self.machines.setdefault(name, [])
        while len(machines) < wanted:
            machines.append(self._order(name))
        nodes = {node["metadata"]["name"]: node for node in await self.nodes(name)}
        while len(machines) > wanted and await self._remove(machines, nodes):
            pass
        for machine in machines:
            if machine.name not in nodes and machine.ready_at is not None and machine.ready_at <= time.monotonic():
                await self._create(machine, name)
        status = {"status": {"replicas": len(machines)}}
        await self.admin.api.patch(f"{GROUPS}/{name}/status", json.dumps(status).encode(), PatchKind.MERGE)

    def _order(self, group: str) -> Machine:
        ordered = self.ordered.setdefault(group, [])
        number, nth = len(ordered) + 1, self.fails.get(group, 0)
        lost = nth > 0 and number % nth == 0
        ordered.append(Machine(name=f"{group}-{number}", ready_at=None if lost else time.monotonic() + self.delay))
        return ordered[-1]

    async def _create(self, machine: Machine, group: str) -> None:
        node = world.a_node(machine.name, group)
        node["metadata"]["labels"][MADE_BY] = group
        await self.admin.create(node)

    async def _remove(self, machines: list[Machine], nodes: dict[str, dict[str, Any]]) -> bool:
        marked = [m for m in machines if LEAVING in nodes.get(m.name, {}).get("metadata", {}).get("annotations", {})]
        coming = [machine for machine in machines if machine.name not in nodes]
        gone = next(iter(marked or coming), None)
        if gone is None:
            self.wrong.append(f"nobody marked any of {[machine.name for machine in machines]}")
            return False
        pods = await self.admin.items("/api/v1/pods")
        if busy := [pod["metadata"]["name"] for pod in pods if pod["spec"].get("nodeName") == gone.name]:
            self.wrong.append(f"{gone.name} still runs {busy}")
        machines.remove(gone)
        if gone.name in nodes:
            await self.admin.delete(f"/api/v1/nodes/{gone.name}")
        gone.gone_at = time.monotonic()
        return True


@asynccontextmanager
async def provisioning(admin: Admin, **told: Any) -> AsyncIterator[Provisioner]:
    """A provisioner at work."""
    provisioner = Provisioner(admin, **told)
    task = asyncio.create_task(provisioner.run())
    try:
        yield provisioner
    finally:
        task.cancel()
        await asyncio.wait([task])
