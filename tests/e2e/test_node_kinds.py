"""Every kind of GPU node in one lender: which are lent, which are not, and what happens as that changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from faults import world
from faults.evidence import EPOCH, Node
from faults.ground import Ground, Operators, ground
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting
from meltguard.localcluster.plane import Plane
from support.overload import until

pytestmark = pytest.mark.plane

FLOOD: Final = 200.0
"""Image units a second: more than all nodes together could do."""

SHAPE: Final = world.Shape(floor=1, max_loans=12)
POLICY: Final = world.a_policy(SHAPE)
del POLICY["spec"]["service"]["workloadRef"]  # what is looked at is which nodes are lent, not what starts there
KARPENTER: Final = {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"}
CANDIDATE: Final = {"key": "DeletionCandidateOfClusterAutoscaler", "effect": "PreferNoSchedule"}
AUTOSCALER: Final = {"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}
HOLD: Final = "test.example.com/hold"

AT_ONCE: Final = ("whole-cards", "autoscalers-candidate")
"""Lent to a service whose pods ask for nvidia.com/gpu."""

OF_ANOTHER_KIND: Final[Mapping[str, tuple[str, int]]] = {
    "amd": ("amd.com/gpu", 8),
    "intel": ("gpu.intel.com/xe", 8),
    "mig": ("nvidia.com/mig-1g.10gb", 14),
    "time-sliced": ("nvidia.com/gpu.shared", 16),
}
"""Lent once a pod of the service asks for such a GPU."""

MIXED: Final = "mixed"
"""Four whole cards, too few for a pod, beside slices: lent once a pod of the service asks for such slices."""

MENDED: Final = ("rebooted", "upgrading", "karpenters")
"""Lent once what speaks against it is over."""

NEVER: Final = ("autoscalers", "deleted", "kept")
ALL: Final = (*AT_ONCE, *OF_ANOTHER_KIND, MIXED, *MENDED, *NEVER)
LATER: Final = (*OF_ANOTHER_KIND, MIXED)


def fleet() -> list[dict[str, Any]]:
    """Every kind at once."""
    nodes = {name: world.a_node(name, "research") for name in ALL}
    for name, (kind, count) in OF_ANOTHER_KIND.items():
        offer(nodes[name], {"nvidia.com/gpu": "0", kind: str(count)})
    offer(nodes[MIXED], {"nvidia.com/gpu": "4", "nvidia.com/mig-1g.10gb": "28"})
    offer(nodes["rebooted"], {"nvidia.com/gpu": "0"})
    nodes["upgrading"]["metadata"]["labels"]["nvidia.com/gpu-driver-upgrade-state"] = "pod-restart-required"
    nodes["kept"]["metadata"]["annotations"]["meltguard.io/do-not-lend"] = "true"
    nodes["deleted"]["metadata"]["finalizers"] = [HOLD]
    for name, taint in {"karpenters": KARPENTER, "autoscalers": AUTOSCALER, "autoscalers-candidate": CANDIDATE}.items():
        nodes[name]["spec"]["taints"] = [*nodes[name]["spec"]["taints"], taint]
    return list(nodes.values())


def offer(node: dict[str, Any], gpus: Mapping[str, str]) -> None:
    for counted in ("allocatable", "capacity"):
        node["status"][counted] = {**node["status"][counted], **gpus}


def asking(kind: str, number: int) -> dict[str, Any]:
    """A pod of the service that asks for such a GPU, and that no node may run."""
    made = world.a_pod(f"asks-{number}", "", world.SERVING, labels={"app": world.SERVICE})
    del made["spec"]["nodeName"]
    made["spec"]["nodeSelector"] = {"nowhere": "true"}
    made["spec"]["containers"][0]["resources"] = {"limits": {kind: str(world.GPUS)}}
    return made


def path(name: str) -> str:
    return f"/api/v1/nodes/{name}"


async def decides(found: Ground) -> bool:
    return "decision" in await found.admin.status(path_of(POLICY))


async def mend(found: Ground) -> None:
    """The device plugin is back, the upgrade is done, Karpenter gives up."""
    await found.admin.merge(f"{path('rebooted')}/status", {"status": {"allocatable": {"nvidia.com/gpu": "8"}}})
    done = {"nvidia.com/gpu-driver-upgrade-state": "upgrade-done"}
    await found.admin.merge(path("upgrading"), {"metadata": {"labels": done}})
    own = world.a_node("any", "research")["spec"]["taints"]
    await found.admin.merge(path("karpenters"), {"spec": {"taints": own}})


def as_found(node: Node) -> tuple[object, ...]:
    """All of it but the term's mark, which stays."""
    kept = {key: value for key, value in node.annotations.items() if key != EPOCH}
    return (node.labels, node.taints, node.cordoned, kept)


async def test_every_kind_of_node_is_lent_or_left_and_comes_home_as_it_was(lone_plane: Plane, tmp_path: Path) -> None:
    async with ground(lone_plane, Operators(directory=tmp_path)) as found:
        for made in (*fleet(), *world.pools(SHAPE)):
            await found.admin.apply(made)
        await until(lambda: Setting(found).is_set(ALL), 60.0)
        await found.admin.delete(path("deleted"))
        found.operator.open()
        await found.operator.up()
        found.agents.ask(CALM)
        await found.admin.apply(POLICY)
        await until(lambda: decides(found), 60.0)

        found.agents.ask(FLOOD)
        await until(lambda: Setting(found).lends(*AT_ONCE), 60.0)
        for number, (kind, _) in enumerate(OF_ANOTHER_KIND.values()):
            await found.admin.create(asking(kind, number))
        await until(lambda: Setting(found).lends(*AT_ONCE, *LATER), 60.0)
        await mend(found)
        before = await Setting(found).nodes()
        await until(lambda: Setting(found).lends(*AT_ONCE, *LATER, *MENDED), 60.0)

        gone = {"status": {"allocatable": {"nvidia.com/mig-1g.10gb": "0"}}}
        await found.admin.merge(f"{path('mig')}/status", gone)  # rebooted while it is lent
        await found.admin.delete(path_of(POLICY))
        await until(lambda: Setting(found).lends(), 60.0)
        after = await Setting(found).nodes()
        assert {name: as_found(after[name]) for name in MENDED} == {name: as_found(before[name]) for name in MENDED}
        await found.admin.merge(path("deleted"), {"metadata": {"finalizers": None}})
