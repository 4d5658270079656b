"""A surge that lenders cannot meet: nodes are bought where they are cheapest, and given back when nobody needs them."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from faults import world
from faults.ground import Ground, Operators, ground
from faults.rest import Admin
from faults.scenario import CALM
from meltguard.localcluster.binaries import binary
from meltguard.localcluster.plane import Plane
from meltguard.localcluster.progress import progress_on
from support.chart import CHART, RELEASE, helm_run
from support.overload import until
from support.provisioner import GROUP, SPACE, Provisioner, a_group, provisioning, replicas, served

pytestmark = pytest.mark.plane

CHEAP, DEAR = "cheap", "dear"
CAPS = {CHEAP: 25.0, DEAR: 45.0}  # a day: two nodes of each at a time, an hour and a quarter paid ahead
SURGE = 37.0
"""Units a second: three nodes of eight GPUs beyond the two that serve."""


def a_provider(name: str, cost: str) -> dict[str, Any]:
    return world.a_pool(
        name,
        {
            "provider": {"name": name, "costPerGPUHour": cost},
            "lending": {
                "floor": 0,
                "maxLoans": 4,
                "maxLoanDuration": "10m",
                "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
            },
            "scaleRef": {
                "apiVersion": f"{GROUP}/v1",
                "kind": "NodeGroup",
                "name": name,
                "namespace": SPACE,
                "max": 4,
                "gpusPerNode": 8,
                "spend": {"perDay": str(CAPS[name]), "perMonth": "1000"},
                "arriveWithin": "6s",
                "idleAfter": "3s",
                "removal": "NodeMark",
            },
        },
    )


def a_policy() -> dict[str, Any]:
    policy = world.a_policy(world.Shape(max_loans=4))
    policy["spec"]["capacity"]["borrowFrom"] = [CHEAP, DEAR]
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


class Bought:
    """What the pools' statuses say, and whether it ever said more than a cap."""

    def __init__(self, found: Ground) -> None:
        self._found = found
        self.over: list[str] = []
        self.most = {CHEAP: 0.0, DEAR: 0.0}

    async def of(self, name: str) -> dict[str, Any]:
        """One provider's part of its pool's status."""
        pool = await self._found.admin.get(f"/apis/meltguard.io/v1alpha1/gpupools/{name}")
        said: dict[str, Any] = ((pool or {}).get("status") or {}).get("provider") or {}
        spent = float(said.get("spentToday", 0.0))
        self.most[name] = max(self.most[name], spent)
        if spent > CAPS[name]:
            self.over.append(f"{name}: {spent}")
        return said

    async def lent(self) -> int:
        """Bought nodes that serve."""
        for name in CAPS:
            await self.of(name)
        nodes = await self._found.admin.items("/api/v1/nodes")
        loans = [node["metadata"]["annotations"].get("meltguard.io/loan") for node in nodes]
        return sum(json.loads(loan)["step"] == "Lent" for loan in loans if loan)


async def test_half_of_the_orders_fail_and_demand_is_met_from_the_next_below_the_caps(
    lone_plane: Plane, tmp_path: Path
) -> None:
    async with ground(lone_plane, Operators(directory=tmp_path)) as found:
        await served(found.admin)
        await granted(found.admin, tmp_path)
        for name, cost in ((CHEAP, "1"), (DEAR, "2")):
            await a_group(found.admin, name)
            await found.admin.apply(a_provider(name, cost))
        await found.admin.apply(world.a_pool("inference", {}))
        async with provisioning(found.admin, fails={CHEAP: 2}) as provisioner:
            found.operator.open()
            await found.operator.up()
            await found.admin.apply(a_policy())
            bought = Bought(found)
            await met(found, bought)
            await survives_a_kill(found, bought)
            await ebbs(found, bought, provisioner)
        assert bought.over == []


async def met(found: Ground, bought: Bought) -> None:
    """The surge comes: one order of two fails at the cheap provider, the dear one delivers what is missing."""
    await until(lambda: _serve(found, 2), 60.0)
    found.agents.ask(SURGE)
    found.agents.waiting = 1.2

    async def three_are_lent() -> bool:
        return await bought.lent() >= 3

    await until(three_are_lent, 120.0)
    cheap, dear = await bought.of(CHEAP), await bought.of(DEAR)
    assert cheap["arrived"] >= 1
    assert cheap["failed"] >= 1
    assert dear["arrived"] >= 1
    assert bought.most[CHEAP] > 0


async def survives_a_kill(found: Ground, bought: Bought) -> None:
    """A new process knows what was ordered and spent."""
    before = {name: await bought.of(name) for name in CAPS}
    await found.operator.kill()
    await found.operator.up()
    held = await _decided_again(found)
    await until(held, 60.0)
    for name in CAPS:
        after = await bought.of(name)
        assert after["ordered"] == before[name]["ordered"]
        assert float(after["spentToday"]) >= float(before[name]["spentToday"]) - 1.0


async def ebbs(found: Ground, bought: Bought, provisioner: Provisioner) -> None:
    """Calm again: every bought node goes, empty and marked, and nothing else."""
    found.agents.ask(CALM)
    found.agents.waiting = 0.0

    async def none_is_left() -> bool:
        await bought.lent()
        return all([await replicas(found.admin, name) == 0 for name in CAPS]) and not any(
            [await provisioner.nodes(name) for name in CAPS]
        )

    await until(none_is_left, 150.0)

    async def nothing_is_owed() -> bool:
        return not any([(await bought.of(name)).get("nodes") for name in CAPS])

    await until(nothing_is_owed, 30.0)
    assert provisioner.wrong == []


async def _serve(found: Ground, count: int) -> bool:
    await asyncio.sleep(0)
    return len(found.agents) >= count


async def _decided_again(found: Ground) -> Any:
    path = f"/apis/meltguard.io/v1alpha1/namespaces/{world.SERVING}/imageservicepolicies/{world.SERVICE}"

    async def at() -> str:
        policy = await found.admin.get(path)
        return str(((policy or {}).get("status") or {}).get("decision", {}).get("at"))

    before = await at()

    async def again() -> bool:
        return await at() != before

    return again
