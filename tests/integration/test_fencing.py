"""An old leader's writes against the chart's own admission policies, with our own client and identity."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_lease import LeaseElection, LeaseName, LeaseTiming
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds
from meltguard.errors import Fenced, InvalidInput, Unavailable
from meltguard.localcluster.plane import Plane
from support.admission import EPOCH, Op, Shielded, put, set_label, shield, under
from support.chart import NAMESPACE, RELEASE, rendered
from support.eventually import soon
from support.rest import Rest

pytestmark = pytest.mark.plane

BRISK = LeaseTiming(duration=Seconds(1.0), deadline=Seconds(0.6), renew_every=Seconds(0.2), retry_every=Seconds(0.1))
LEASE = LeaseName(namespace=NAMESPACE, name=RELEASE)


@pytest.fixture(scope="module")
def shielded(lone_plane: Plane, helm: Path) -> Shielded:
    """The plane under the chart's policies; its Lease stands at EPOCH."""
    return shield(Rest.of(lone_plane.kubeconfig), rendered(helm))


@pytest.fixture
async def operator(lone_plane: Plane, shielded: Shielded) -> AsyncIterator[KubernetesApi]:
    """Our client under our ServiceAccount."""
    assert shielded
    kubeconfig = lone_plane.kubeconfig_for_service_account(NAMESPACE, RELEASE)
    async with await KubernetesApi.connect(str(kubeconfig)) as api:
        yield api


async def write(api: KubernetesApi, node: str, epoch: int, *ops: Op) -> None:
    await api.patch(f"/api/v1/nodes/{node}", json.dumps(under(epoch, *ops)).encode())


async def test_each_new_leader_fences_the_one_before(operator: KubernetesApi, shielded: Shielded) -> None:
    old, new = (LeaseElection(operator, LEASE, SystemClock(), BRISK) for _ in range(2))
    async with soon(20.0):
        before = await old.acquire()
        assert before > EPOCH
        node = shielded.node()
        await until_passes(operator, node, before)
        after = await new.acquire()
        assert after == before + 1
        await until_passes(operator, node, after)
        with pytest.raises(Fenced, match="another leader works, stop"):
            await write(operator, node, before)


async def until_passes(api: KubernetesApi, node: str, epoch: int) -> None:
    """The API server learns of the Lease's new epoch within moments, not at once."""
    while True:
        try:
            await write(api, node, epoch, put("/spec/unschedulable", True))
        except Fenced:
            await asyncio.sleep(0.1)
        else:
            return


async def test_other_policies_are_told_apart_from_the_fence(operator: KubernetesApi, shielded: Shielded) -> None:
    lease = LeaseElection(operator, LEASE, SystemClock(), BRISK)
    async with soon(20.0):
        epoch = await lease.acquire()
        node = shielded.node()
        await until_passes(operator, node, epoch)
        with pytest.raises(InvalidInput, match="meltguard-node-scope"):
            await write(operator, node, epoch, set_label("team", "ours"))


async def test_what_rbac_does_not_grant_is_told_with_the_way_out(operator: KubernetesApi) -> None:
    with pytest.raises(Unavailable, match="grant it in the chart's RBAC") as forbidden:
        await operator.get(f"/api/v1/namespaces/{NAMESPACE}/secrets/x")
    assert 'cannot get resource "secrets"' in str(forbidden.value)
