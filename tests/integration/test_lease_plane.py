"""Lease election on the real API server, at a third of the usual times."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_lease import LeaseElection, LeaseLost, LeaseName, LeaseTiming
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds
from meltguard.localcluster.plane import Plane
from support.eventually import soon
from support.plane import Kubectl

pytestmark = pytest.mark.plane

BRISK = LeaseTiming(duration=Seconds(8.0), deadline=Seconds(5.0), renew_every=Seconds(1.5), retry_every=Seconds(0.5))
AWAY = 20.0


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[KubernetesApi]:
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as opened:
        yield opened


def a_candidate(api: KubernetesApi, namespace: str) -> LeaseElection:
    return LeaseElection(api, LeaseName(namespace=namespace, name="meltguard"), SystemClock(), BRISK)


async def read(kubectl: Kubectl, namespace: str) -> dict[str, Any]:
    """The Lease; who holds it goes on renewing meanwhile."""
    spec: dict[str, Any] = (await asyncio.to_thread(kubectl.read, "-n", namespace, "lease", "meltguard"))["spec"]
    return spec


async def test_the_real_server_takes_what_we_write(api: KubernetesApi, kubectl: Kubectl, namespace: str) -> None:
    first, second = a_candidate(api, namespace), a_candidate(api, namespace)
    async with soon(30.0):
        assert await first.acquire() == 1
        waiting = asyncio.create_task(second.acquire())
        keeping = asyncio.create_task(first.keep())
        lease = await read(kubectl, namespace)
        assert lease["holderIdentity"].startswith(first.identity)
        await asyncio.sleep(BRISK.duration * 1.5)
        assert not waiting.done()
        assert (await read(kubectl, namespace))["renewTime"] > lease["renewTime"]
        keeping.cancel()
        await first.release()
        assert await waiting == 2
    with pytest.raises(LeaseLost):
        first.ensure_held()
    second.ensure_held()


async def test_the_server_away_for_long_costs_the_lease_in_time_and_not_for_good(
    plane: Plane, api: KubernetesApi, namespace: str
) -> None:
    lease = a_candidate(api, namespace)
    assert await lease.acquire() == 1
    keeping = asyncio.create_task(lease.keep())
    await asyncio.sleep(0.5)
    server = plane.processes["kube-apiserver"]
    os.kill(server, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        async with soon(BRISK.deadline):  # the server stays away for longer
            await keeping
        with pytest.raises(LeaseLost):
            lease.ensure_held()
        waiting = asyncio.create_task(lease.acquire())
        await asyncio.sleep(AWAY - (time.monotonic() - stopped))
        assert not waiting.done()
    finally:
        os.kill(server, signal.SIGCONT)
    async with soon(10.0):
        assert await waiting == 2
    lease.ensure_held()
    await lease.release()
