"""The books of a lender, in its GPUPool's status on a real API server; and when that server makes trouble."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.api.to_core import read_pool
from meltguard.controller.ledger import PATIENCE, Ledger
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.pools_status import PoolReporter
from meltguard.controller.telemetry import Telemetry
from meltguard.core.fleet import Claim, Drain, MoveStep, NodeView
from meltguard.core.moves import new_claim
from meltguard.core.units import GpuHours, Instant, PoolName
from meltguard.errors import Conflict
from meltguard.localcluster.plane import Plane
from support.core_values import a_node, a_pool
from support.custom_resources import CustomResources, installed
from support.drain_world import EVICTION
from support.fake_apiserver import FakeApiServer, serving, write_kubeconfig
from support.fake_moves import FakeResources
from support.fakes import FakeClock, FakeFleet
from support.objects import Object, a_pool_object
from support.plane import Kubectl

POOLS = "/apis/meltguard.io/v1alpha1/gpupools"
HOUR = 3600.0


def a_loan(name: str, pool: str, now: float, hours: float = 1.0) -> tuple[NodeView, Claim]:
    """About to come home after so many hours; two GPU-hours of work were lost for it."""
    since = Instant(now - hours * HOUR)
    drain = Drain(eviction=EVICTION, deadline=since, work_lost=GpuHours(2.0), victims=("Job lab/train",), began=since)
    home = replace(a_pool(), name=PoolName(pool))
    claim = new_claim(a_node(name), ("serving/image-gen", "uid"), (home, a_pool("inference")), (since, since), drain)
    claim = replace(claim, step=MoveStep.HOME, lent_at=since, step_deadline=Instant(now + 60.0), why="calm")
    return a_node(name, claim=claim), claim


@pytest.fixture(scope="module")
def resources(plane: Plane, kubectl: Kubectl) -> CustomResources:
    return installed(plane, kubectl)


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[KubernetesApi]:
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as connected:
        yield connected


@pytest.fixture
def pool(resources: CustomResources, kubectl: Kubectl, namespace: str) -> AsyncIterator[Object]:
    """A lender of the test's own."""
    labels = {"nodes": {"labels": {"workload": namespace}}}
    body = a_pool_object(namespace, **labels)
    resources.apply(body).must()
    yield body
    kubectl("delete", "gpool", namespace, "--wait=false")


def ledger_of(resources: CustomResources, pool: Object) -> dict[str, Any]:
    return dict(resources.read(pool)["status"]["ledger"])


@pytest.mark.plane
async def test_a_loan_is_booked_once_however_often_it_is_closed(
    api: KubernetesApi, resources: CustomResources, pool: Object
) -> None:
    clock = FakeClock()
    ledger = Ledger(api=api, clock=clock)
    node, claim = a_loan("gpu-1", pool["metadata"]["name"], clock.now())
    for _ in range(3):
        await ledger.close(node, claim)
        clock.advance(5.0)
    booked = ledger_of(resources, pool)
    assert (booked["loans"], booked["gpuHoursLent"], booked["workLost"]) == (1, "8.000", "2.000")
    assert [(past["move"], past["node"], past["why"]) for past in booked["recent"]] == [
        (claim.move_id, "gpu-1", "calm")
    ]


@pytest.mark.plane
async def test_the_status_is_renewed_around_the_books(
    api: KubernetesApi, resources: CustomResources, kubectl: Kubectl, pool: Object
) -> None:
    """Two writers, each with its own fields: neither takes anything from the other."""
    clock, fleet, name = FakeClock(), FakeFleet(), pool["metadata"]["name"]
    reporter = PoolReporter(
        resources=FakeResources(lent=(read_pool(resources.read(pool)),)),
        fleet=fleet,
        objects=KubernetesObjects(api, clock),
        clock=clock,
        telemetry=Telemetry(),
        lost=LostClaims(),
    )
    await reporter.run_once()
    await Ledger(api=api, clock=clock).close(*a_loan("gpu-1", name, clock.now()))
    node, claim = a_loan("gpu-2", name, clock.now(), 2.0)
    fleet.put(replace(node, claim=replace(claim, step=MoveStep.LENT)))
    reporter.resources = FakeResources(lent=(read_pool(resources.read(pool)),))
    await reporter.run_once()
    status = resources.read(pool)["status"]
    assert status["ledger"]["loans"] == 1
    assert status["gpuHoursLent"] == "24"
    assert [(loan["node"], loan["gpuHours"], loan["workLost"]) for loan in status["loans"]] == [("gpu-2", "16", "2")]
    assert status["hours"].startswith("Open: ") or status["hours"].startswith("Closed: ")
    assert len(status["windows"]) == 3
    head, line = kubectl("get", "gpool", name, "-o", "wide").splitlines()
    assert "GPU-HOURS" in head
    assert line.split()[:6] == [name, "True", "1", "0", "1", "4"]
    assert "24" in line.split()


@pytest.mark.plane
async def test_what_a_pool_no_longer_says_goes_from_its_status(
    api: KubernetesApi, resources: CustomResources, pool: Object
) -> None:
    seen, clock = read_pool(resources.read(pool)), FakeClock()
    reporter = PoolReporter(
        resources=FakeResources(lent=(seen,)),
        fleet=FakeFleet(),
        objects=KubernetesObjects(api, clock),
        clock=clock,
        telemetry=Telemetry(),
        lost=LostClaims(),
    )
    await reporter.run_once()
    assert "hours" in resources.read(pool)["status"]
    reporter.resources = FakeResources(lent=(replace(seen, pool=replace(seen.pool, lending=None)),))
    await reporter.run_once()
    assert "hours" not in resources.read(pool)["status"]


@pytest.mark.plane
async def test_a_lender_that_is_gone_keeps_no_node_from_home(api: KubernetesApi, resources: CustomResources) -> None:
    assert resources
    await Ledger(api=api, clock=FakeClock()).close(*a_loan("gpu-1", "no-such-pool", FakeClock().now()))


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[tuple[FakeApiServer, KubernetesApi]]:
    server = FakeApiServer()
    server.put(f"{POOLS}/research", a_pool_object())
    async with (
        serving(server.handle) as url,
        await KubernetesApi.connect(str(write_kubeconfig(tmp_path / "kubeconfig", url))) as api,
    ):
        yield server, api


async def test_whoever_writes_in_between_is_not_overwritten(faulty: tuple[FakeApiServer, KubernetesApi]) -> None:
    server, api = faulty
    clock = FakeClock()
    ledger = Ledger(api=api, clock=clock)
    first, second = a_loan("gpu-1", "research", clock.now()), a_loan("gpu-2", "research", clock.now())

    async def another_writes(request: web.Request) -> None:
        if request.method == "PATCH":
            server.faults.clear()
            await ledger.close(*second)

    server.faults.append(another_writes)
    with pytest.raises(Conflict):
        await ledger.close(*first)
    await ledger.close(*first)
    key = next(key for key in server.objects if "gpupools" in key)
    booked = server.objects[key]["status"]["ledger"]
    assert [past["node"] for past in booked["recent"]] == ["gpu-2", "gpu-1"]
    assert booked["loans"] == 2


async def test_a_reply_that_is_lost_books_nothing_twice(faulty: tuple[FakeApiServer, KubernetesApi]) -> None:
    server, api = faulty
    clock = FakeClock()
    ledger, loan = Ledger(api=api, clock=clock), a_loan("gpu-1", "research", FakeClock().now())
    server.lose_replies = 1
    with pytest.raises(Exception, match="does not answer"):
        await ledger.close(*loan)
    clock.advance(5.0)
    await ledger.close(*loan)
    key = next(key for key in server.objects if "gpupools" in key)
    assert server.objects[key]["status"]["ledger"]["loans"] == 1


async def test_no_bookkeeping_keeps_a_node_from_its_owners(faulty: tuple[FakeApiServer, KubernetesApi]) -> None:
    """A pool that somebody writes all the time: after a while the node goes home unbooked."""
    server, api = faulty
    clock = FakeClock()
    ledger, (node, claim) = Ledger(api=api, clock=clock), a_loan("gpu-1", "research", clock.now())

    async def touched(request: web.Request) -> None:
        if request.method == "PATCH":
            server.put(f"{POOLS}/research", {**a_pool_object(), "touched": server.version})

    server.faults.append(touched)
    with pytest.raises(Conflict):
        await ledger.close(node, claim)
    clock.advance(60.0 + PATIENCE + 1.0)
    await ledger.close(node, claim)
