"""Calls lent nodes home for their lender: writes the order on the GPUPool and watches it being followed."""

import asyncio
import getpass
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_fleet import NODES
from meltguard.adapters.kubernetes_list import read_all
from meltguard.api.recall import RECALL_ANNOTATION, RecallText, write_recall
from meltguard.clock import rfc3339
from meltguard.controller.resources import POOLS
from meltguard.core.fleet import Claim
from meltguard.core.units import Instant, NodeName, Seconds
from meltguard.errors import InvalidInput
from meltguard.ports import Clock

LOOK_AGAIN: Final = Seconds(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """One order of `kubectl meltguard recall`."""

    api: KubernetesApi
    clock: Clock
    say: Callable[[str], None]

    async def loans(self, pool: str) -> Mapping[NodeName, Claim]:
        """What the pool has lent now, by node.

        Raises:
            InvalidInput: there is no such pool; the text says which there are.
        """
        if await self.api.get(f"{POOLS}/{pool}") is None:
            names = ", ".join(sorted(await self._pools())) or "none"
            raise InvalidInput(f"there is no GPUPool {pool}; there are: {names}")
        nodes = (await read_all(self.api, NODES, read_node)).items
        return {node.name: node.claim for node in nodes if node.claim is not None and node.claim.home == pool}

    async def order(self, pool: str, only: Sequence[NodeName], reason: str) -> Mapping[NodeName, Claim]:
        """Write the order; the loans that it is about, none where nothing is lent.

        Raises:
            InvalidInput: a node is not on loan from the pool; the text says which are.
        """
        lent = await self.loans(pool)
        strangers = [name for name in only if name not in lent]
        if strangers:
            there = ", ".join(sorted(lent)) or "nothing"
            raise InvalidInput(f"{', '.join(strangers)}: not on loan from pool {pool}; on loan is {there}")
        meant = {name: claim for name, claim in lent.items() if not only or name in only}
        if meant:
            await self._write(pool, only, reason)
        return meant

    async def watch(self, pool: str, meant: Mapping[NodeName, Claim], limit: Seconds) -> Mapping[NodeName, Claim]:
        """Say each step until all are home, or the time is over; what is not home then."""
        ends = self.clock.elapsed() + limit
        shown: dict[NodeName, str] = {}
        while True:
            left = await self._left(pool, meant)
            for name in meant:
                step = str(left[name].step) if name in left else "home"
                if shown.get(name) != step:
                    self.say(f"{name}: {step}")
                shown[name] = step
            if not left or self.clock.elapsed() > ends:
                return left
            await asyncio.sleep(LOOK_AGAIN)  # a person watches; a look a second costs one list

    async def _left(self, pool: str, meant: Mapping[NodeName, Claim]) -> dict[NodeName, Claim]:
        now = await self.loans(pool)
        return {name: now[name] for name, claim in meant.items() if name in now and now[name].move_id == claim.move_id}

    async def _write(self, pool: str, only: Sequence[NodeName], reason: str) -> None:
        before = rfc3339(Instant(self.clock.now() + 1.0))  # whole seconds: what is claimed this second is meant too
        text = write_recall(RecallText(nodes=tuple(only), before=before, reason=reason, by=getpass.getuser()))
        patch = {"metadata": {"annotations": {RECALL_ANNOTATION: text}}}
        await self.api.patch(f"{POOLS}/{pool}", msgspec.json.encode(patch), PatchKind.MERGE)

    async def _pools(self) -> list[str]:
        return [raw["metadata"]["name"] for raw in (await read_all(self.api, POOLS, _decoded)).items]


def _decoded(raw: msgspec.Raw) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])
