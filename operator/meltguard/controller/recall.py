"""Calls lent nodes home for their lender: writes the order on the GPUPool and watches it being followed."""

import asyncio
import getpass
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_fleet import NODES
from meltguard.adapters.kubernetes_list import read_all
from meltguard.api.recall import LONGEST_REASON, RECALL_ANNOTATION, RecallText, read_recall, write_recall
from meltguard.clock import rfc3339
from meltguard.controller.resources import POOLS
from meltguard.core.fleet import Claim
from meltguard.core.units import Instant, NodeName, Seconds
from meltguard.errors import Conflict, InvalidInput
from meltguard.ports import Clock

LOOK_AGAIN: Final = Seconds(1.0)
ATTEMPTS: Final = 5
Loans = Mapping[NodeName, Claim]
"""Claims by the node that bears them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What `kubectl meltguard recall` does."""

    api: KubernetesApi
    clock: Clock
    say: Callable[[str], None]

    async def pools(self) -> tuple[str, ...]:
        """The names of all pools."""
        return tuple(sorted((await read_all(self.api, POOLS, _pool)).items))

    async def loans(self, pool: str) -> Loans:
        """What the pool has lent now.

        Raises:
            InvalidInput: there is no such pool; the text says which there are.
        """
        if await self.api.get(f"{POOLS}/{pool}") is None:
            raise InvalidInput(f"there is no GPUPool {pool}; there are: {', '.join(await self.pools()) or 'none'}")
        return {name: claim for name, claim in (await self.claims()).items() if claim.home == pool}

    async def claims(self) -> Loans:
        """What all pools have lent now."""
        nodes = (await read_all(self.api, NODES, read_node)).items
        return {node.name: node.claim for node in nodes if node.claim is not None}

    async def order(self, pool: str, meant: Collection[NodeName], reason: str) -> None:
        """Write the order. What an earlier one asked for and is not home yet stays asked for.

        Raises:
            InvalidInput: the reason is too long, or the pool is gone.
            Conflict: the pool is written all the time.
        """
        if len(reason) > LONGEST_REASON:
            raise InvalidInput(f"--reason has {len(reason)} characters; write at most {LONGEST_REASON}")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._write(pool, meant, reason)
            except Conflict:
                if attempt == ATTEMPTS:
                    raise
        return None

    async def watch(self, meant: Loans, limit: Seconds) -> Loans:
        """Say each step until all are home, or the time is over; what is not home then."""
        ends = self.clock.elapsed() + limit
        shown: dict[NodeName, str] = {}
        left = meant
        while True:
            left = await self._left(left)
            for name in meant:
                step = str(left[name].step) if name in left else "home"
                if shown.get(name) != step:
                    self.say(f"{name}: {step}")
                shown[name] = step
            if not left or self.clock.elapsed() > ends:
                return left
            await asyncio.sleep(LOOK_AGAIN)  # a person watches; a look a second costs one read a node

    async def _left(self, meant: Loans) -> Loans:
        found: dict[NodeName, Claim] = {}
        for name, claim in meant.items():
            body = await self.api.get(f"{NODES}/{name}")
            now = None if body is None else read_node(body).claim
            if now is not None and now.move_id == claim.move_id:
                found[name] = now
        return found

    async def _write(self, pool: str, meant: Collection[NodeName], reason: str) -> None:
        body = await self.api.get(f"{POOLS}/{pool}")
        if body is None:
            raise InvalidInput(f"GPUPool {pool} is gone; its loans go home by that")
        read = _POOLS.decode(body).metadata
        lent = await self.loans(pool)
        earlier = _open_orders((read.annotations or {}).get(RECALL_ANNOTATION, ""), lent)
        names = (set(meant) & lent.keys()) | earlier
        if not names:
            return  # all came home meanwhile
        latest = max(lent[name].since for name in names)
        order = RecallText(
            nodes=() if names == lent.keys() else tuple(sorted(names)),
            before=rfc3339(Instant(math.ceil(latest))),  # by the clock that wrote the claims, not by this machine's
            reason=reason,
            by=_who(),
        )
        patch = {
            "metadata": {
                "resourceVersion": read.resource_version,
                "annotations": {RECALL_ANNOTATION: write_recall(order)},
            }
        }
        await self.api.patch(f"{POOLS}/{pool}", msgspec.json.encode(patch), PatchKind.MERGE)


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Pool(msgspec.Struct, frozen=True):
    metadata: _Metadata


_POOLS: Final = msgspec.json.Decoder(_Pool)


def _pool(raw: msgspec.Raw) -> str:
    return _POOLS.decode(raw).metadata.name


def _open_orders(text: str, lent: Loans) -> set[NodeName]:
    """What the order that stands there means and is still out; nothing where none can be read."""
    try:
        before = read_recall(text) if text else None
    except InvalidInput:
        before = None  # it has no effect: nothing is lost with it
    return {name for name, claim in lent.items() if before is not None and before.means(name, claim)}


def _who() -> str:
    """The person's name on this machine; the audit log knows better."""
    try:
        return getpass.getuser()[:128]
    except (KeyError, OSError):
        return ""
