"""What every Providers and every Departures does: the fakes, and the API server's under the chart's rights."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_departures import (
    CLUSTER_NAMESPACE,
    DELETE_MACHINE,
    MACHINE,
    MACHINES,
    KubernetesDepartures,
)
from meltguard.adapters.kubernetes_providers import KubernetesProviders
from meltguard.core.fleet import LEAVING_ANNOTATION, NodeView
from meltguard.core.purchases import Scale
from meltguard.core.scaling import Removal, Scaling
from meltguard.core.units import Epoch, NodeName
from meltguard.errors import Conflict, Fenced, InvalidInput, Unavailable
from meltguard.localcluster.plane import Plane
from meltguard.ports import Departures, Providers
from support.admission import EPOCH, EPOCH_KEY, Shielded, a_node, note, put, shield, until
from support.chart import NAMESPACE, RELEASE, Manifest, rendered
from support.fake_providers import FakeDepartures, FakeProviders
from support.fakes import FakeFleet
from support.providers import a_scaling
from support.provisioner import CRD, GROUP, GROUPS
from support.rest import Rest

OURS = Epoch(EPOCH)
NUMBERS = itertools.count()
MARK = Removal.NODE_MARK


@dataclass(frozen=True)
class Setting:
    """Both ports, and somebody else who writes the same objects."""

    providers: Providers
    departures: Departures
    new_group: Callable[[str], object]
    raised: Callable[[str], object]  # somebody else sets three replicas
    refuses: Callable[[str], object]
    new_node: Callable[[], str]
    read: Callable[[str], Awaitable[NodeView]]
    cordoned: Callable[[str], object]
    by_a_later_leader: Callable[[str], object]


def a_group(**changes: Any) -> Scaling:
    """A node group of its own."""
    name = f"group-{next(NUMBERS)}"
    return a_scaling(api_version=f"{GROUP}/v1", kind="NodeGroup", namespace="default", name=name, **changes)


@asynccontextmanager
async def faked() -> AsyncIterator[Setting]:
    fleet, providers = FakeFleet(), FakeProviders()

    def made() -> str:
        body = a_node(f"node-{next(NUMBERS)}")
        body["metadata"]["uid"] = body["metadata"]["name"]
        fleet.put(read_node(json.dumps(body).encode()))
        return str(body["metadata"]["name"])

    async def read(name: str) -> NodeView:
        found = await fleet.fresh(NodeName(name))
        assert found is not None
        return found

    def change(name: str, **changes: Any) -> None:
        node = fleet.nodes[NodeName(name)]
        fleet.put(NodeView(**{**{key: getattr(node, key) for key in NodeView.__dataclass_fields__}, **changes}))

    def later(name: str) -> None:
        change(name, annotations={**fleet.nodes[NodeName(name)].annotations, EPOCH_KEY: str(EPOCH + 2)})

    yield Setting(
        providers=providers,
        departures=FakeDepartures(fleet),
        new_group=lambda name: providers.put(name, Scale(wanted=0, present=0)),
        raised=lambda name: providers.put(name, Scale(wanted=3, present=0)),
        refuses=lambda name: providers.put(name, Scale(wanted=0, present=0, refusing="SoldOut: no GPUs left")),
        new_node=made,
        read=read,
        cordoned=lambda name: change(name, unschedulable=True),
        by_a_later_leader=later,
    )


MACHINES_HERE = f"{MACHINES}/namespaces/default/machines"


def machines_crd() -> Manifest:
    """Cluster API's Machine, as far as we write it."""
    names = {"kind": "Machine", "plural": "machines", "singular": "machine"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": "v1beta2", "served": True, "storage": True, "schema": schema}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "machines.cluster.x-k8s.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, of a test"},
        },
        "spec": {"group": "cluster.x-k8s.io", "scope": "Namespaced", "names": names, "versions": versions},
    }


@pytest.fixture(scope="module")
def shielded(lone_plane: Plane, helm: Path) -> Shielded:
    """The plane under the chart's policies, with the right to scale node groups."""
    values = ["nodeLabelKeys={workload}", f"providers.scales[0].group={GROUP}"]
    values += ["providers.scales[0].resource=nodegroups", "providers.markMachines=true"]
    admin = Rest.of(lone_plane.kubeconfig)
    for kind in (CRD, machines_crd()):
        admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", kind).must()
    # the API server tells nobody of a kind that is not served yet
    until(lambda: admin.get(GROUPS).ok and admin.get(MACHINES_HERE).ok, 30.0)
    return shield(admin, rendered(helm, *[part for value in values for part in ("--set", value)]))


@asynccontextmanager
async def on_the_plane(plane: Plane, shielded: Shielded) -> AsyncIterator[Setting]:
    admin = shielded.admin
    kubeconfig = plane.kubeconfig_for_service_account(NAMESPACE, RELEASE)

    def new_group(name: str) -> None:
        metadata = {"name": name, "namespace": "default"}
        group = {"apiVersion": f"{GROUP}/v1", "kind": "NodeGroup", "metadata": metadata, "spec": {"replicas": 0}}
        admin.post(GROUPS, group).must()

    def refuses(name: str) -> None:
        condition = {"type": "SoldOut", "status": "True", "message": "no GPUs left"}
        admin.patch(f"{GROUPS}/{name}/status", [put("/status", {"replicas": 0, "conditions": [condition]})]).must()

    async def read(name: str) -> NodeView:
        body: Any = (await asyncio.to_thread(admin.get, f"/api/v1/nodes/{name}")).must()
        return read_node(json.dumps(body).encode())

    async with await KubernetesApi.connect(str(kubeconfig)) as api:
        yield Setting(
            providers=KubernetesProviders(api),
            departures=KubernetesDepartures(api),
            new_group=new_group,
            raised=lambda name: admin.patch(f"{GROUPS}/{name}", [put("/spec/replicas", 3)]).must(),
            refuses=refuses,
            new_node=shielded.node,
            read=read,
            cordoned=lambda name: admin.patch(f"/api/v1/nodes/{name}", [put("/spec/unschedulable", True)]).must(),
            by_a_later_leader=lambda name: admin.patch(
                f"/api/v1/nodes/{name}", [note(EPOCH_KEY, str(EPOCH + 2))]
            ).must(),
        )


async def test_replicas_are_set_as_they_were_read(setting: Setting) -> None:
    group = a_group()
    setting.new_group(group.name)
    read = await setting.providers.read(group)
    assert read.scale == Scale(wanted=0, present=0)
    await setting.providers.scale(group, 2, read)
    assert (await setting.providers.read(group)).scale.wanted == 2


async def test_what_somebody_else_wrote_since_is_not_written_over(setting: Setting) -> None:
    group = a_group()
    setting.new_group(group.name)
    read = await setting.providers.read(group)
    setting.raised(group.name)
    with pytest.raises(Conflict):
        await setting.providers.scale(group, 1, read)
    assert (await setting.providers.read(group)).scale.wanted == 3


async def test_what_is_not_there_says_what_to_do(setting: Setting) -> None:
    with pytest.raises(InvalidInput, match="there is no NodeGroup"):
        await setting.providers.read(a_group())


async def test_the_objects_own_word_for_no_capacity_is_heard_where_it_is_asked_for(setting: Setting) -> None:
    for asked, refusing in (("SoldOut", "SoldOut: no GPUs left"), ("", "")):
        group = a_group(refused_by=asked)
        setting.new_group(group.name)
        setting.refuses(group.name)
        assert (await setting.providers.read(group)).scale.refusing == refusing


async def test_a_mark_cordons_and_goes_again_with_its_cordon(setting: Setting) -> None:
    name = setting.new_node()
    await setting.departures.mark(await setting.read(name), "o7", MARK, OURS)
    marked = await setting.read(name)
    assert (marked.annotations[LEAVING_ANNOTATION], marked.unschedulable) == ("o7", True)
    await setting.departures.mark(marked, "o7", MARK, OURS)  # safe to repeat
    await setting.departures.unmark(await setting.read(name), MARK, OURS)
    after = await setting.read(name)
    assert (LEAVING_ANNOTATION in after.annotations, after.unschedulable) == (False, False)


async def test_a_node_that_somebody_cordoned_meanwhile_is_not_marked(setting: Setting) -> None:
    name = setting.new_node()
    read = await setting.read(name)
    setting.cordoned(name)
    with pytest.raises(Conflict):
        await setting.departures.mark(read, "o7", MARK, OURS)
    assert LEAVING_ANNOTATION not in (await setting.read(name)).annotations


async def test_a_later_leader_fences_marks_off(setting: Setting) -> None:
    name = setting.new_node()
    setting.by_a_later_leader(name)
    with pytest.raises(Fenced):
        await setting.departures.mark(await setting.read(name), "o7", MARK, OURS)


async def test_a_node_of_no_machine_is_not_taken_back_by_one(setting: Setting) -> None:
    with pytest.raises(InvalidInput, match="names no Machine"):
        await setting.departures.mark(await setting.read(setting.new_node()), "o7", Removal.CLUSTER_MACHINE, OURS)


@pytest.mark.plane
async def test_a_machine_of_cluster_api_is_named_and_let_off_again(lone_plane: Plane, shielded: Shielded) -> None:
    machine = f"{MACHINES_HERE}/m1"
    body = {"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": "m1"}}
    shielded.admin.post(MACHINES_HERE, body).must()
    name = shielded.node(note(MACHINE, "m1"), note(CLUSTER_NAMESPACE, "default"))
    async with on_the_plane(lone_plane, shielded) as setting:
        await setting.departures.mark(await setting.read(name), "o7", Removal.CLUSTER_MACHINE, OURS)
        await setting.departures.mark(await setting.read(name), "o7", Removal.CLUSTER_MACHINE, OURS)
        marks = shielded.admin.get(machine).must()["metadata"]["annotations"]
        assert (marks, (await setting.read(name)).unschedulable) == ({DELETE_MACHINE: "o7"}, True)
        await setting.departures.unmark(await setting.read(name), Removal.CLUSTER_MACHINE, OURS)
        assert DELETE_MACHINE not in shielded.admin.get(machine).must()["metadata"].get("annotations", {})
        assert not (await setting.read(name)).unschedulable


@pytest.mark.plane
async def test_what_the_chart_was_not_told_may_not_be_scaled(lone_plane: Plane, shielded: Shielded) -> None:
    assert shielded.admin.get("/api/v1/namespaces").ok
    kubeconfig = lone_plane.kubeconfig_for_service_account(NAMESPACE, RELEASE)
    other = a_scaling(api_version="v1", kind="ReplicationController", namespace="default", name="any")
    async with await KubernetesApi.connect(str(kubeconfig)) as api:
        with pytest.raises(Unavailable, match="replicationcontrollers"):
            await KubernetesProviders(api).read(other)
