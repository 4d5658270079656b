"""What every NodeMoves does: the fake, and the API server's under the chart's own admission policies."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_moves import KubernetesMoves
from meltguard.clock import SystemClock
from meltguard.core.fleet import Claim, MoveStep, NodeView
from meltguard.core.moves import new_claim
from meltguard.core.policy import Taint
from meltguard.core.units import Epoch, Instant, NodeName
from meltguard.errors import Conflict, Fenced
from meltguard.localcluster.plane import Plane
from meltguard.ports import NodeMoves
from support.admission import EPOCH, EPOCH_KEY, Shielded, a_node, note, put, shield
from support.chart import NAMESPACE, RELEASE, rendered
from support.core_values import a_pool
from support.eventually import soon
from support.fake_moves import FakeMoves
from support.fakes import FakeFleet
from support.rest import Rest

OURS = Epoch(EPOCH)
ROUND_TRIP = (
    MoveStep.CLAIMED,
    MoveStep.CORDONED,
    MoveStep.RELABELLED,
    MoveStep.LENT,
    MoveStep.RECALLED,
    MoveStep.RESTORED,
    MoveStep.HOME,
)
FOREIGN = Taint(key="example.com/disk", value="old", effect="PreferNoSchedule")
TTL = "node.alpha.kubernetes.io/ttl"


@dataclass(frozen=True)
class Setting:
    """Moves, and the nodes that they write."""

    moves: NodeMoves
    new_node: Callable[[], str]
    read: Callable[[str], Awaitable[NodeView]]
    written_by_a_later_leader: Callable[[str], object]
    tainted: Callable[[str], object]  # by somebody else
    made_anew: Callable[[str], object]

    async def as_it_is(self, name: str, write: Callable[[NodeView], Awaitable[object]]) -> None:
        """Write a node as the mover does: what changed since the reading, as controllers do, is read again."""
        async with soon(20.0):
            while True:
                try:
                    await write(await self.read(name))
                except Conflict:
                    await asyncio.sleep(0.05)
                else:
                    return

    async def enter(self, name: str, claim: Claim) -> None:
        """Enter a step."""
        await self.as_it_is(name, lambda node: self.moves.enter(node, claim, OURS))

    async def release(self, name: str, claim: Claim) -> None:
        """End a move."""
        await self.as_it_is(name, lambda node: self.moves.release(node, claim, OURS))

    async def claim(self, name: str) -> Claim:
        """Claim a node."""
        now = Instant(SystemClock().now())
        pools = (a_pool(), a_pool("inference"))
        claim = new_claim(await self.read(name), ("serving/image-gen", "uid"), pools, (now, Instant(now + 600.0)))
        await self.enter(name, claim)
        return claim


@asynccontextmanager
async def faked() -> AsyncIterator[Setting]:
    fleet, numbers = FakeFleet(), itertools.count()

    def made(name: str) -> str:
        body = a_node(name)
        body["metadata"]["uid"] = str(uuid.uuid4())
        fleet.put(read_node(json.dumps(body).encode()))
        return name

    async def read(name: str) -> NodeView:
        found = await fleet.fresh(NodeName(name))
        assert found is not None
        return found

    def later(name: str) -> None:
        node = fleet.nodes[NodeName(name)]
        fleet.put(replace(node, annotations={**node.annotations, EPOCH_KEY: str(EPOCH + 2)}))

    def tainted(name: str) -> None:
        node = fleet.nodes[NodeName(name)]
        fleet.put(replace(node, taints=(*node.taints, FOREIGN)))

    yield Setting(FakeMoves(fleet), lambda: made(f"node-{next(numbers)}"), read, later, tainted, made)


@pytest.fixture(scope="module")
def shielded(lone_plane: Plane, helm: Path) -> Shielded:
    """The plane under the chart's policies; its Lease stands at EPOCH."""
    return shield(Rest.of(lone_plane.kubeconfig), rendered(helm, "--set", "nodeLabelKeys={workload}"))


@asynccontextmanager
async def on_the_plane(plane: Plane, shielded: Shielded) -> AsyncIterator[Setting]:
    admin = shielded.admin
    kubeconfig = plane.kubeconfig_for_service_account(NAMESPACE, RELEASE)

    def path(name: str) -> str:
        return f"/api/v1/nodes/{name}"

    async def read(name: str) -> NodeView:
        body: Any = (await asyncio.to_thread(admin.get, path(name))).must()
        return read_node(json.dumps(body).encode())

    def later(name: str) -> None:
        admin.patch(path(name), [note(EPOCH_KEY, str(EPOCH + 2))]).must()

    def tainted(name: str) -> None:
        taint = {"key": FOREIGN.key, "value": FOREIGN.value, "effect": FOREIGN.effect}
        admin.patch(path(name), [put("/spec/taints/-", taint)]).must()

    def made_anew(name: str) -> None:
        admin.delete(path(name)).must()
        admin.post("/api/v1/nodes", a_node(name)).must()

    async with await KubernetesApi.connect(str(kubeconfig)) as api:
        yield Setting(KubernetesMoves(api), shielded.node, read, later, tainted, made_anew)


def looks(node: NodeView) -> tuple[object, ...]:
    """All of a node that a move may change, but the fence's memory; not what Kubernetes writes on new nodes."""
    notes = {key: text for key, text in node.annotations.items() if key != EPOCH_KEY and not key.startswith(TTL)}
    own = tuple(taint for taint in node.taints if not taint.key.startswith("node.kubernetes.io/"))
    return node.labels, own, node.unschedulable, notes


async def test_a_round_trip_leaves_the_node_as_it_was(setting: Setting) -> None:
    name = setting.new_node()
    before = looks(await setting.read(name))
    claim = await setting.claim(name)
    for step in ROUND_TRIP[1:]:
        await setting.enter(name, replace(claim, step=step))
        entered = await setting.read(name)
        assert entered.claim is not None
        assert entered.claim.step is step
        borrowed = step in {MoveStep.RELABELLED, MoveStep.LENT, MoveStep.RECALLED}
        assert entered.labels["workload"] == ("inference" if borrowed else "research"), step
        assert entered.unschedulable is (step not in {MoveStep.LENT, MoveStep.HOME}), step
    await setting.release(name, replace(claim, step=MoveStep.HOME))
    assert looks(await setting.read(name)) == before
    assert (await setting.read(name)).annotations[EPOCH_KEY] == str(EPOCH)


async def test_a_node_has_one_claim(setting: Setting) -> None:
    name = setting.new_node()
    free = await setting.read(name)
    first = await setting.claim(name)
    with pytest.raises(Conflict):
        await setting.moves.enter(free, replace(first, move_id="another"), OURS)
    held = (await setting.read(name)).claim
    assert held is not None
    assert held.move_id == first.move_id


async def test_what_was_written_since_the_reading_is_not_written_over(setting: Setting) -> None:
    name = setting.new_node()
    claim = await setting.claim(name)
    old = await setting.read(name)
    await setting.enter(name, replace(claim, step=MoveStep.CORDONED))
    with pytest.raises(Conflict):
        await setting.moves.enter(old, replace(claim, step=MoveStep.RELABELLED), OURS)
    with pytest.raises(Conflict):
        await setting.moves.release(old, claim, OURS)
    now = (await setting.read(name)).claim
    assert now is not None
    assert now.step is MoveStep.CORDONED


async def test_a_taint_that_somebody_adds_meanwhile_is_read_before_taints_are_written(setting: Setting) -> None:
    name = setting.new_node()
    claim = await setting.claim(name)
    await setting.enter(name, replace(claim, step=MoveStep.CORDONED))
    old = await setting.read(name)
    setting.tainted(name)
    with pytest.raises(Conflict):
        await setting.moves.enter(old, replace(claim, step=MoveStep.RELABELLED), OURS)
    await setting.enter(name, replace(claim, step=MoveStep.RELABELLED))
    kept = {(taint.key, taint.effect) for taint in (await setting.read(name)).taints}
    assert (FOREIGN.key, FOREIGN.effect) in kept


async def test_another_node_of_the_same_name_is_left_alone(setting: Setting) -> None:
    name = setting.new_node()
    claim = await setting.claim(name)
    old = await setting.read(name)
    setting.made_anew(name)
    with pytest.raises(Conflict):
        await setting.moves.enter(old, replace(claim, step=MoveStep.CORDONED), OURS)
    assert (await setting.read(name)).claim is None


async def test_after_a_later_leader_nothing_is_written(setting: Setting) -> None:
    name = setting.new_node()
    claim = await setting.claim(name)
    setting.written_by_a_later_leader(name)
    with pytest.raises(Fenced):
        await setting.enter(name, replace(claim, step=MoveStep.CORDONED))
    with pytest.raises(Fenced):
        await setting.release(name, claim)
    assert not (await setting.read(name)).unschedulable
