"""Registers the local runner as a node and keeps its Lease fresh."""

import asyncio
import json
import logging
from typing import Any, Final, NoReturn

from meltguard.adapters.kubernetes_client import PatchKind
from meltguard.clock import rfc3339, rfc3339_micro
from meltguard.core.units import Seconds
from meltguard.errors import Conflict, MeltguardError
from meltguard.localcluster.kubelet.answering import LOGS_PORT
from meltguard.localcluster.kubelet.site import Site

LEASE: Final = Seconds(40.0)
RENEW_EVERY: Final = Seconds(10.0)
AGAIN: Final = Seconds(0.5)
CAPACITY: Final = {"cpu": "64", "memory": "256Gi", "pods": "250"}
"""Not this machine's: pods here ask for what a cluster would give them."""

LABEL: Final = "meltguard.io/local-runner"
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
CONDITIONS: Final = {
    "Ready": ("True", "KubeletReady"),
    "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
    "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
    "PIDPressure": ("False", "KubeletHasSufficientPID"),
}
log = logging.getLogger(__name__)


async def register(site: Site) -> None:
    """Create the node, or take over the one that is there. Tries until it succeeds; put a time limit around it."""
    while True:
        try:
            await _create_or_adopt(site)
            await _renew(site)
        except MeltguardError as exc:
            log.warning("node not registered yet", extra={"why": str(exc)})
            await asyncio.sleep(AGAIN)
        else:
            return


async def keep_lease(site: Site) -> NoReturn:
    """Renew the Lease until cancelled."""
    while True:
        await asyncio.sleep(RENEW_EVERY)
        try:
            await _renew(site)
        except MeltguardError as exc:
            log.warning("lease not renewed", extra={"why": str(exc)})


async def _create_or_adopt(site: Site) -> None:
    status = _status(site)
    labels = {LABEL: "true", "kubernetes.io/hostname": site.node, "kubernetes.io/os": "linux"}
    metadata = {"name": site.node, "labels": labels}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}
    try:
        await site.api.post("/api/v1/nodes", json.dumps(node).encode())
    except Conflict:
        path = f"/api/v1/nodes/{site.node}/status"
        await site.api.patch(path, json.dumps({"status": status}).encode(), PatchKind.STRATEGIC)


def _status(site: Site) -> dict[str, Any]:
    now = rfc3339(site.clock.now())
    return {
        "daemonEndpoints": {"kubeletEndpoint": {"Port": LOGS_PORT}},
        "capacity": CAPACITY,
        "allocatable": CAPACITY,
        "addresses": [
            {"type": "InternalIP", "address": site.node_ip},
            {"type": "Hostname", "address": site.node},
        ],
        "conditions": [
            {"type": kind, "status": status, "reason": reason, "lastHeartbeatTime": now, "lastTransitionTime": now}
            for kind, (status, reason) in CONDITIONS.items()
        ],
        "nodeInfo": {
            "kubeletVersion": "meltguard",
            "containerRuntimeVersion": "process://1",
            "operatingSystem": "linux",
            "osImage": "this machine",
            **dict.fromkeys(
                ("architecture", "bootID", "kernelVersion", "kubeProxyVersion", "machineID", "systemUUID"), ""
            ),
        },
    }


async def _renew(site: Site) -> None:
    metadata = {"name": site.node, "namespace": "kube-node-lease"}
    spec = {
        "holderIdentity": site.node,
        "leaseDurationSeconds": int(LEASE),
        "renewTime": rfc3339_micro(site.clock.now()),
    }
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
    try:
        await site.api.post(LEASES, json.dumps(lease).encode())
    except Conflict:
        await site.api.patch(f"{LEASES}/{site.node}", json.dumps({"spec": spec}).encode(), PatchKind.MERGE)
