"""A service whose missing nodes are bought, and what they cost by both accounts: our books and the provisioner's bill.

The bill is worked out from the provisioner's own record of its machines, never from our books.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from faults import world
from faults.ground import Ground, Operators, ground
from faults.rest import Admin, path_of
from faults.scenario import CALM
from faults.setting import Setting
from meltguard.localcluster.binaries import binary
from meltguard.localcluster.plane import Plane
from meltguard.localcluster.progress import progress_on
from support.chart import CHART, RELEASE, helm_run
from support.overload import until
from support.provisioner import (
    GROUP,
    SPACE,
    Provisioner,
    a_group,
    group_path,
    provisioning,
    quiet_zone,
    replicas,
    served,
)

Json = dict[str, Any]
CHEAP, DEAR = "cheap", "dear"
NODE_HOUR: Final = {CHEAP: 8.0, DEAR: 16.0}
CAPS: Final = {CHEAP: 25.0, DEAR: 45.0}
"""Two nodes of each at a time, an hour and a quarter paid ahead."""

SLACK: Final = 30.0 / 3600.0
"""Hours by which our books may run on after a node is gone: until that is noticed."""

PENNY: Final = 0.01
"""Sums in status are rounded to it."""


def a_provider(name: str, *, per_day: float, per_month: float, **terms: Any) -> Json:
    borrowers = {"namespaceSelector": {"matchLabels": {"team": "serving"}}}
    spend = {"perDay": str(per_day), "perMonth": str(per_month), "timeZone": quiet_zone()}
    return world.a_pool(
        name,
        {
            "provider": {"name": name, "costPerGPUHour": str(NODE_HOUR[name] / world.GPUS)},
            "lending": {"floor": 0, "maxLoans": 4, "maxLoanDuration": "10m", "borrowers": borrowers},
            "scaleRef": {
                "apiVersion": f"{GROUP}/v1",
                "kind": "NodeGroup",
                "name": name,
                "namespace": SPACE,
                "max": 4,
                "gpusPerNode": world.GPUS,
                "spend": spend,
                "arriveWithin": "20s",
                "idleAfter": "10s",
                "removal": "NodeMark",
                **terms,
            },
        },
    )


def a_policy(**capacity: Any) -> Json:
    policy = world.a_policy(world.Shape(max_loans=4))
    policy["spec"]["capacity"] |= capacity
    return policy


async def granted(admin: Admin, directory: Path) -> None:
    """The chart's own rights for the kind that makes nodes, and no more."""
    values = [f"providers.scales[0].group={GROUP}", "providers.scales[0].resource=nodegroups"]
    flags = [part for value in values for part in ("--set", value)]
    only = ("--namespace", world.OPERATORS, "--show-only", "templates/rbac-operator.yaml", *flags)
    text = await asyncio.to_thread(
        helm_run, binary("helm", progress_on(sys.__stderr__)), "template", RELEASE, str(CHART), *only
    )
    (directory / "rights.yaml").write_text(text)
    await admin.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(directory / "rights.yaml"))


@dataclass
class Scene:
    """A service, who makes nodes for it, and what that costs by both accounts."""

    found: Ground
    provisioner: Provisioner
    caps: Mapping[str, tuple[float, float]]  # by provider: a day, a month
    broken: list[str] = field(default_factory=list)  # where money was not as promised

    async def provider(self, name: str) -> Json:
        """One provider's part of its pool's status, held against the provisioner's bill."""
        pool = await self.found.admin.get(f"/apis/meltguard.io/v1alpha1/gpupools/{name}")
        said: Json = ((pool or {}).get("status") or {}).get("provider") or {}
        day, month = (float(said.get(key, 0.0)) for key in ("spentToday", "spentThisMonth"))
        bill = self.provisioner.bill(name, NODE_HOUR[name])
        if day > self.caps[name][0] or month > self.caps[name][1]:
            self.broken.append(f"{name}: {day} and {month} are booked, above a cap")
        if pool is not None and bill > day + PENNY:
            self.broken.append(f"{name}: {bill} was spent, {day} is booked")
        return said

    async def status(self) -> Json:
        """The policy's."""
        return await self.found.admin.status(path_of(a_policy()))

    async def lent(self) -> set[str]:
        """Nodes that are open to the service."""
        for name in self.caps:
            await self.provider(name)
        nodes = await Setting(self.found).nodes()
        return {name for name, node in nodes.items() if node.step == "Lent"}

    async def lent_of(self) -> Counter[str]:
        """How many of each home."""
        return Counter(name.rpartition("-")[0] for name in await self.lent())

    async def lends(self, **of: int) -> None:
        """Return once so many of each home are lent, and no others."""

        async def are_lent() -> bool:
            return await self.lent_of() == of

        await until(are_lent, 120.0)

    async def decided_again(self) -> None:
        """One more decision is written down, ten seconds at most."""
        at = (await self.status())["decision"]["at"]

        async def again() -> bool:
            await self.lent()
            return bool((await self.status())["decision"]["at"] > at)

        await until(again, 60.0)

    async def meets_demand(self, pods: int) -> None:
        """All of them answer and no tier is limited: nothing waits here, which would trim what limits let through."""

        async def serve() -> bool:
            await self.lent()
            return bool((await self.status())["decision"]["answeringPods"] == pods)

        await until(serve, 60.0)
        await until(self.is_open, 60.0)

    async def is_open(self) -> bool:
        """Whether no tier is limited."""
        limits = (await self.status()).get("limits", [])
        return bool(limits) and all(limit["state"] == "Open" for limit in limits)

    async def balances(self, name: str) -> None:
        """Return once all are gone: what is booked is what they cost, but for the seconds until that was noticed."""

        async def owes_nothing() -> bool:
            await self.lent()
            left = await self.provisioner.nodes(name) or (await self.provider(name)).get("nodes")
            return not left and await replicas(self.found.admin, name) == 0

        await until(owes_nothing, 150.0)
        over = float((await self.provider(name))["spentToday"]) - self.provisioner.bill(name, NODE_HOUR[name])
        assert -PENNY <= over <= len(self.provisioner.ordered[name]) * SLACK * NODE_HOUR[name] + PENNY

    def ebb(self) -> None:
        """Few users are left."""
        self.found.agents.ask(CALM)

    async def gone(self, pools: Mapping[str, Json]) -> None:
        """The policy and its pools, and with them all that was bought."""
        await self.found.admin.delete(path_of(a_policy()))
        await self._until_away(path_of(a_policy()))
        for name, pool in pools.items():
            await self.found.admin.delete(path_of(pool))
            await self._until_away(path_of(pool))
            await self.found.admin.delete(group_path(name))

    async def _until_away(self, path: str) -> None:
        async def is_away() -> bool:
            return await self.found.admin.get(path) is None

        await until(is_away, 120.0)


@asynccontextmanager
async def scene_of(
    plane: Plane, directory: Path, pools: Mapping[str, Json], fails: Mapping[str, int]
) -> AsyncIterator[Scene]:
    """The providers, their groups and the operator; no policy yet."""
    async with ground(plane, Operators(directory=directory)) as found:
        await served(found.admin)
        await granted(found.admin, directory)
        for name, pool in pools.items():
            await a_group(found.admin, name)
            await found.admin.apply(pool)
        await found.admin.apply(world.a_pool("inference", {}))
        spend = {name: pool["spec"]["scaleRef"]["spend"] for name, pool in pools.items()}
        caps = {name: (float(one["perDay"]), float(one["perMonth"])) for name, one in spend.items()}
        async with provisioning(found.admin, fails=dict(fails)) as provisioner:
            found.operator.open()
            await found.operator.up()
            scene = Scene(found, provisioner, caps)
            found.agents.ask(CALM)
            yield scene
            await scene.gone(pools)
        assert provisioner.wrong == []
        assert scene.broken == []
