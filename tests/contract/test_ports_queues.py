"""What every ClusterQueues does: the fake, and the API server's under the chart's rights."""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_queues import KubernetesQueues
from meltguard.core.lent_quota import Quota, QuotaMark, followed
from meltguard.core.quota_ref import QuotaRef
from meltguard.core.units import NodeName
from meltguard.errors import Conflict, InvalidInput, Unavailable
from meltguard.localcluster.plane import Plane
from meltguard.ports import ClusterQueues
from support.admission import Shielded, put, shield, until
from support.chart import NAMESPACE, RELEASE, rendered
from support.fake_queues import FakeQueues
from support.kueue import FLAVOR, GPU, MARK, NOMINAL_PATH, QUEUES, a_queue, crd, nominal_of
from support.rest import Rest

NUMBERS = itertools.count()
NAMES: Final = [f"queue-{number}" for number in range(40)]
LENT: Final = {NodeName("gpu-1"): 8}


@dataclass(frozen=True)
class Setting:
    """The port, and somebody else who writes the same objects."""

    queues: ClusterQueues
    new_queue: Callable[[str, int | str], object]
    set_nominal: Callable[[str, int], object]


def a_ref(**changes: str) -> QuotaRef:
    """A number of a queue of its own."""
    named = {"cluster_queue": NAMES[next(NUMBERS)], "flavor": FLAVOR, "resource": GPU}
    return QuotaRef(**{**named, **changes})


@asynccontextmanager
async def faked() -> AsyncIterator[Setting]:
    queues = FakeQueues()

    def ref_of(name: str) -> QuotaRef:
        return QuotaRef(cluster_queue=name, flavor=FLAVOR, resource=GPU)

    def new_queue(name: str, nominal: int | str) -> None:
        whole = str(nominal).isdecimal()
        queues.quotas[ref_of(name)] = Quota(nominal=int(nominal)) if whole else str(nominal)

    def set_nominal(name: str, nominal: int) -> None:
        found = queues.quotas[ref_of(name)]
        assert isinstance(found, Quota)
        queues.quotas[ref_of(name)] = Quota(nominal=nominal, mark=found.mark)

    yield Setting(queues=queues, new_queue=new_queue, set_nominal=set_nominal)


@pytest.fixture(scope="module")
def shielded(lone_plane: Plane, helm: Path) -> Shielded:
    """The plane under the chart's policies, with the right to the queues that it names."""
    admin = Rest.of(lone_plane.kubeconfig)
    admin.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd()).must()
    until(lambda: admin.get(QUEUES).ok, 30.0)  # the API server tells nobody of a kind that is not served yet
    values = ["nodeLabelKeys={workload}", f"kueue.clusterQueues={{{','.join(NAMES)}}}"]
    return shield(admin, rendered(helm, *[part for value in values for part in ("--set", value)]))


@asynccontextmanager
async def on_the_plane(plane: Plane, shielded: Shielded) -> AsyncIterator[Setting]:
    admin = shielded.admin
    kubeconfig = plane.kubeconfig_for_service_account(NAMESPACE, RELEASE)
    async with await KubernetesApi.connect(str(kubeconfig)) as api:
        yield Setting(
            queues=KubernetesQueues(api),
            new_queue=lambda name, nominal: admin.post(QUEUES, a_queue(name, nominal)).must(),
            set_nominal=lambda name, to: admin.patch(f"{QUEUES}/{name}", [put(NOMINAL_PATH, to)]).must(),
        )


@pytest.mark.parametrize("nominal", [24, "24"])
async def test_number_and_mark_are_written_and_go_again(setting: Setting, nominal: int | str) -> None:
    ref = a_ref()
    setting.new_queue(ref.cluster_queue, nominal)
    found = await setting.queues.read(ref)
    assert found == Quota(nominal=24)
    assert await setting.queues.marked(ref.cluster_queue) == ()
    await setting.queues.write(ref, followed(found, LENT), found)
    away = await setting.queues.read(ref)
    assert away == Quota(nominal=16, mark=QuotaMark(taken=8, wrote=16, nodes=LENT))
    assert await setting.queues.marked(ref.cluster_queue) == (ref,)
    await setting.queues.write(ref, followed(away, {}), away)
    assert await setting.queues.read(ref) == Quota(nominal=24)
    assert await setting.queues.marked(ref.cluster_queue) == ()


async def test_what_somebody_else_set_since_is_not_written_over(setting: Setting) -> None:
    ref = a_ref()
    setting.new_queue(ref.cluster_queue, 24)
    found = await setting.queues.read(ref)
    setting.set_nominal(ref.cluster_queue, 32)
    with pytest.raises(Conflict):
        await setting.queues.write(ref, followed(found, LENT), found)
    assert await setting.queues.read(ref) == Quota(nominal=32)


async def test_a_mark_stays_beside_a_number_that_others_set(setting: Setting) -> None:
    ref = a_ref()
    setting.new_queue(ref.cluster_queue, 24)
    found = await setting.queues.read(ref)
    await setting.queues.write(ref, followed(found, LENT), found)
    setting.set_nominal(ref.cluster_queue, 24)
    assert (await setting.queues.read(ref)).overwritten


async def test_what_is_not_there_or_not_whole_says_what_to_do(setting: Setting) -> None:
    with pytest.raises(InvalidInput, match="there is no ClusterQueue"):
        await setting.queues.read(a_ref())
    ref = a_ref()
    setting.new_queue(ref.cluster_queue, "24500m")
    with pytest.raises(InvalidInput, match="write it as a whole number"):
        await setting.queues.read(ref)
    for other in (
        a_ref(cluster_queue=ref.cluster_queue, flavor="b200"),
        a_ref(cluster_queue=ref.cluster_queue, resource="x"),
    ):
        with pytest.raises(InvalidInput, match="is not there"):
            await setting.queues.read(other)
    assert await setting.queues.marked(a_ref().cluster_queue) == ()


@pytest.mark.plane
async def test_only_the_number_is_touched_and_the_way_back_is_exact(lone_plane: Plane, shielded: Shielded) -> None:
    for metadata in ({}, {"annotations": {"owner.example.com/note": "not ours"}}):
        ref = a_ref()
        path = f"{QUEUES}/{ref.cluster_queue}"
        before = shielded.admin.post(QUEUES, a_queue(ref.cluster_queue, "24", **metadata)).must()
        async with on_the_plane(lone_plane, shielded) as setting:
            found = await setting.queues.read(ref)
            await setting.queues.write(ref, followed(found, LENT), found)
            away: Any = shielded.admin.get(path).must()
            assert nominal_of(away) == "16"
            assert away["spec"] == a_queue(ref.cluster_queue, "16")["spec"]
            assert away["metadata"]["annotations"].pop(MARK) == (
                '{"h100/nvidia.com/gpu":{"lent":8,"wrote":16,"nodes":{"gpu-1":8}}}'
            )
            assert away["metadata"]["annotations"] == metadata.get("annotations", {})
            away_now = await setting.queues.read(ref)
            await setting.queues.write(ref, followed(away_now, {}), away_now)
        after: Any = shielded.admin.get(path).must()
        assert after["spec"] == before["spec"]
        assert after["metadata"].get("annotations") == before["metadata"].get("annotations")


@pytest.mark.plane
async def test_two_numbers_of_one_queue_are_marked_each_for_itself(lone_plane: Plane, shielded: Shielded) -> None:
    ref = a_ref()
    other = a_ref(cluster_queue=ref.cluster_queue, flavor="a100")
    shielded.admin.post(QUEUES, a_queue(ref.cluster_queue)).must()
    async with on_the_plane(lone_plane, shielded) as setting:
        for one in (ref, other):
            found = await setting.queues.read(one)
            await setting.queues.write(one, followed(found, {NodeName("gpu-1"): 3}), found)
        assert set(await setting.queues.marked(ref.cluster_queue)) == {ref, other}
        assert [(await setting.queues.read(one)).nominal for one in (ref, other)] == [21, 4]


@pytest.mark.plane
async def test_a_mark_that_cannot_be_read_says_what_to_do(lone_plane: Plane, shielded: Shielded) -> None:
    ref = a_ref()
    shielded.admin.post(QUEUES, a_queue(ref.cluster_queue, annotations={MARK: "{"})).must()
    async with on_the_plane(lone_plane, shielded) as setting:
        with pytest.raises(InvalidInput, match="take the annotation off"):
            await setting.queues.read(ref)


@pytest.mark.plane
async def test_a_queue_that_the_chart_does_not_name_is_not_read(lone_plane: Plane, shielded: Shielded) -> None:
    shielded.admin.post(QUEUES, a_queue("theirs")).must()
    async with on_the_plane(lone_plane, shielded) as setting:
        with pytest.raises(Unavailable, match="grant it in the chart's RBAC"):
            await setting.queues.read(a_ref(cluster_queue="theirs"))
