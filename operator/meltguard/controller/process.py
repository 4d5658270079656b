"""The operator's process: stand by, take the Lease, work, and leave as soon as the Lease is lost."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NoReturn

import msgspec

from meltguard.adapters.agent_push import AgentPush
from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.adapters.kubernetes_lease import LeaseElection, LeaseName
from meltguard.adapters.prometheus import PrometheusMetrics
from meltguard.controller.handlers import build_registry, run_kopf
from meltguard.controller.health import serving_health
from meltguard.controller.resources import Resources
from meltguard.controller.settings import OperatorSettings
from meltguard.controller.supervisor import Supervisor
from meltguard.controller.telemetry import Telemetry
from meltguard.controller.wiring import Process, build_loops
from meltguard.core.fleet import EPOCH_ANNOTATION
from meltguard.core.units import Epoch
from meltguard.ports import Clock

log = logging.getLogger(__name__)


async def run_operator(settings: OperatorSettings, clock: Clock) -> int:
    """Run until told to stop or the Lease is lost; the exit code. A lost Lease is 1: start again, as a candidate."""
    async with opened(settings, clock) as process, AsyncExitStack() as stack:
        address = (settings.listen_host, settings.listen_port)
        probes = (process.unhealthy, process.unready)
        await stack.enter_async_context(serving_health(address, probes, process.telemetry))
        stop = _stop_on_signal()
        mirrors = [asyncio.create_task(process.fleet.run()), asyncio.create_task(process.resources.run())]
        try:
            return await _until(stop, asyncio.create_task(_stand_and_lead(process, stop)), mirrors)
        finally:
            await _cancel(mirrors)


@asynccontextmanager
async def opened(settings: OperatorSettings, clock: Clock) -> AsyncIterator[Process]:
    """The process's connections, closed afterwards."""
    telemetry = Telemetry()
    api = await KubernetesApi.connect()
    supervisor = Supervisor(clock=clock, telemetry=telemetry)
    telemetry.watch_loops(supervisor.ages)
    async with api:
        yield Process(
            settings=settings,
            api=api,
            clock=clock,
            telemetry=telemetry,
            fleet=KubernetesFleet(api, clock),
            resources=Resources(api, clock),
            supervisor=supervisor,
        )


def _stop_on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _until(stop: asyncio.Event, work: asyncio.Task[int], mirrors: Sequence[asyncio.Task[NoReturn]]) -> int:
    """Whichever ends first: being told to stop, the work, or a mirror (which never should)."""
    told = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({told, work, *mirrors}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if work in done:
            return work.result()
        for mirror in mirrors:
            if mirror in done:
                mirror.result()  # raises what ended it
        await _cancel([work])
        return 0
    finally:
        told.cancel()


async def _stand_and_lead(process: Process, stop: asyncio.Event) -> int:
    await process.fleet.synced()
    await process.resources.synced()
    process.synced = True
    name = LeaseName(namespace=process.settings.namespace, name=process.settings.lease)
    lease = LeaseElection(process.api, name, process.clock, seat=process.settings.identity)
    log.info("standing by for the lease", extra={"identity": lease.identity})
    epoch = await lease.acquire(above=highest_epoch(process.fleet))
    log.info("lease is ours", extra={"epoch": epoch, "pid": os.getpid()})
    process.telemetry.leader.set(1)
    process.telemetry.epoch.set(epoch)
    try:
        return await _lead(process, lease, epoch, stop)
    finally:
        process.telemetry.leader.set(0)
        await lease.release()


def highest_epoch(fleet: KubernetesFleet) -> Epoch:
    """The highest epoch that any node bears: a Lease that was deleted starts counting anew, nodes remember."""
    marks = (node.annotations.get(EPOCH_ANNOTATION, "") for node in fleet.view().nodes)
    return Epoch(max((int(mark) for mark in marks if mark.isdigit()), default=0))


async def _lead(process: Process, lease: LeaseElection, epoch: Epoch, stop: asyncio.Event) -> int:
    """Work under one epoch; it ends with the Lease, with Kopf, or with a write that was fenced off."""
    guarded = process.api.guarded(lease.ensure_held)
    await publish_keys(guarded, process.settings)
    metrics = PrometheusMetrics(process.settings.sources(), process.clock, locate=process.fleet.locate)
    kopf_stop = asyncio.Event()
    async with AgentPush(process.settings.keys[0]) as sink:
        loops = build_loops(process, guarded, (sink, metrics), epoch)
        tasks: list[asyncio.Task[object]] = [
            asyncio.create_task(lease.keep()),
            asyncio.create_task(loops.run()),
            asyncio.create_task(run_kopf(build_registry(loops), kopf_stop)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return _why_ended(tasks, done, told=stop.is_set())
        finally:
            kopf_stop.set()
            await _cancel(tasks)
            metrics.close()


def _why_ended(tasks: list[asyncio.Task[object]], done: set[asyncio.Task[object]], *, told: bool) -> int:
    keep, loops, kopf_task = tasks
    if keep in done:
        log.error("the lease is lost; starting again", extra={"why": keep.result()})
        return 1
    for task, what in ((loops, "the loops"), (kopf_task, "kopf")):
        if task in done:
            error = task.exception()
            if told and error is None:
                return 0
            log.error("ended; starting again", extra={"what": what, "why": repr(error)})
            return 1
    return 0


async def publish_keys(api: KubernetesApi, settings: OperatorSettings) -> None:
    """Publish the public keys for agents, in a ConfigMap of our own namespace."""
    name = settings.config.public_keys_config_map
    path = f"/api/v1/namespaces/{settings.namespace}/configmaps/{name}"
    text = "\n".join(key.public_text() for key in settings.keys) + "\n"
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": settings.namespace},
        "data": {"keys": text},
    }
    query = {"fieldManager": "meltguard", "force": "true"}
    await api.patch(path, msgspec.json.encode(body), PatchKind.APPLY, query)


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
