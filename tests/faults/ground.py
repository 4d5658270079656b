"""A plane with the chart's rights and policies on it, the proxy, and the operator behind it: one for many runs."""

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import yaml

from faults import world
from faults.agents import Agents
from faults.fast_clock import FastClock
from faults.process import Launch, OperatorProcess
from faults.proxy import Proxy, door
from faults.rest import Admin
from meltguard.errors import MeltguardError
from meltguard.localcluster.binaries import binary
from meltguard.localcluster.plane import Plane
from meltguard.localcluster.progress import progress_on
from support.chart import CHART, RELEASE, ROOT, helm_run

LEFT_OUT: Final = {"Deployment", "Job", "PodDisruptionBudget", "NetworkPolicy", "Service"}
"""What the chart makes only so that a cluster runs the operator: here we start it."""

LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{world.OPERATORS}/leases/{RELEASE}"
PODS: Final = f"/api/v1/namespaces/{world.SERVING}/pods"


@dataclass(slots=True)
class Ground:
    """What every run stands on."""

    plane: Plane
    admin: Admin
    proxy: Proxy
    agents: Agents
    operators: dict[str, OperatorProcess] = field(default_factory=dict)  # by door

    @property
    def operator(self) -> OperatorProcess:
        """The first, and mostly the only one."""
        return self.operators["first"]

    async def forget_holder(self) -> None:
        """Its holder is dead, surely: let its Lease run out in a second instead of fifteen."""
        lease = await self.admin.get(LEASE)
        if lease is not None and lease["spec"].get("holderIdentity"):
            await self.admin.merge(LEASE, {"spec": {"leaseDurationSeconds": 1}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """How operators are started on a ground."""

    directory: Path
    doors: Sequence[str] = ("first",)
    source: Path | None = None
    clock: FastClock | None = None  # None: the machine's


@asynccontextmanager
async def ground(plane: Plane, told: Operators) -> AsyncIterator[Ground]:
    """Install the chart's objects and the fleet; operators stand behind the proxy but are not started yet."""
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin.of(plane))
        await install(plane, admin, told.directory)
        trust = aiohttp.TCPConnector(ssl=_trust(plane), limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=trust, auto_decompress=True))
        agents = await stack.enter_async_context(Agents())
        ground = Ground(plane=plane, admin=admin, proxy=Proxy(plane.api_server, session, _nobody), agents=agents)
        ground.proxy.kill = lambda client: ground.operators[client].kill()
        for number, name in enumerate(told.doors):
            url = await stack.enter_async_context(door(ground.proxy, (plane.address(number), 6443), name))
            listen = f"{plane.address(100 + number)}:8080"
            launch = _launch(plane, told, (url, listen), name)
            ground.operators[name] = OperatorProcess(launch, ground.forget_holder)
            stack.push_async_callback(ground.operators[name].close)
        following = asyncio.create_task(follow(admin, agents))
        stack.callback(following.cancel)
        yield ground


async def install(plane: Plane, admin: Admin, directory: Path) -> None:
    """The chart's objects, then the service and the nodes that it is on."""
    await install_chart(plane, admin, directory)
    for number in (1, 2):
        await admin.apply(world.a_node(f"inference-{number}", "inference"))
    await admin.apply(world.deployment())


async def install_chart(plane: Plane, admin: Admin, directory: Path) -> None:
    """Namespaces, CRDs, rights, admission policies, configuration and keys, as helm renders them."""
    for made in world.namespaces():
        await admin.apply(made)
    helm = binary("helm", progress_on(sys.__stderr__))
    values = ["--set", f"config.metricSources.default.url={plane.prometheus_url}", "--set", "nodeLabelKeys={workload}"]
    text = await asyncio.to_thread(
        helm_run, helm, "template", RELEASE, str(CHART), "--namespace", world.OPERATORS, *values
    )
    documents = [one for one in yaml.safe_load_all(text) if one and one["kind"] not in LEFT_OUT]
    documents += [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    (directory / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))
    await admin.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(directory / "all.json"))
    await admin.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    _write_settings(documents, directory)


def _write_settings(documents: list[dict[str, Any]], directory: Path) -> None:
    """The mounted ConfigMap and Secret, as files."""
    config = next(one for one in documents if one["kind"] == "ConfigMap")["data"]["config.yaml"]
    secret = next(one for one in documents if one["kind"] == "Secret")
    (directory / "config.yaml").write_text(config)
    keys = directory / "keys"
    keys.mkdir(exist_ok=True)
    for name, text in secret.get("stringData", {}).items():
        (keys / name).write_text(text)
    for name, text in secret.get("data", {}).items():
        (keys / name).write_bytes(msgspec.json.decode(json.dumps(text), type=bytes))


def _launch(plane: Plane, told: Operators, ends: tuple[str, str], name: str) -> Launch:
    url, listen = ends
    real = plane.kubeconfig_for_service_account(world.OPERATORS, RELEASE)
    config = json.loads(real.read_text())
    config["clusters"][0]["cluster"] = {"server": url}
    kubeconfig = told.directory / f"{name}.kubeconfig"
    kubeconfig.write_text(json.dumps(config))
    return Launch(
        kubeconfig=kubeconfig,
        config=told.directory / "config.yaml",
        keys=told.directory / "keys",
        namespace=world.OPERATORS,
        listen=listen,
        log=told.directory / f"{name}.log",
        source=told.source,
        clock=told.clock,
    )


def _trust(plane: Plane) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=plane.certificate_authority)


async def _nobody(_: str) -> None:
    """No operator stands behind the door yet."""


async def follow(admin: Admin, agents: Agents) -> None:
    """Keep an agent on every serving pod."""
    while True:
        with contextlib.suppress(MeltguardError):  # the API server may be away: the agents go on as they are
            await agents.follow(await admin.items(PODS))
        await asyncio.sleep(0.25)
