"""Orders nodes of providers and gives them back: the only writer of what makes nodes.

What is to be done is written into the GPUPool's status first, with what it costs, and done then; after a crash the
status says what may have been done.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from meltguard.api.provider_status import ProviderStatus
from meltguard.api.provider_terms import calendar_of
from meltguard.api.to_core import PoolObject
from meltguard.controller.asked import CustomResources
from meltguard.controller.board import Board
from meltguard.controller.events import EventLog, Reason, pool_ref
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.order_books import ReadPool
from meltguard.controller.provider_books import read_books, write_books
from meltguard.core.fleet import LEAVING_ANNOTATION, NodeView
from meltguard.core.loan_rules import FLEET_FRESH
from meltguard.core.pools import assign
from meltguard.core.providers import next_write, orders, overtaken, settled
from meltguard.core.purchases import Books, Bought, Provider, Stage, advanced, reopened
from meltguard.core.units import Epoch, PoolName
from meltguard.errors import Conflict, InvalidInput, Unavailable
from meltguard.ports import Clock, Departures, Fleet, Providers, ReadScale

log = logging.getLogger(__name__)


class OrderStore(Protocol):
    """Where orders are written down. `OrderBooks` says what may be raised."""

    async def read(self, pool: PoolName) -> ReadPool | None:
        """A pool with its books; None where it is gone."""
        ...

    async def write(self, pool: PoolName, version: str, status: ProviderStatus) -> str:
        """Replace the books, if they are still as read; the version afterwards."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One pool as read, and what is to become of it."""

    found: PoolObject
    version: str  # the GPUPool's resourceVersion
    before: Books
    provider: Provider
    read: ReadScale | None


@dataclass(slots=True, kw_only=True)
class Buyer:
    """One pass looks at every pool with a scaleRef, and changes each one's replicas at most once."""

    books: OrderStore
    resources: CustomResources
    fleet: Fleet
    providers: Providers
    departures: Departures
    events: EventLog
    clock: Clock
    lost: LostClaims
    board: Board
    epoch: Epoch

    async def run_once(self) -> None:
        """Take what is due. What fails at one provider is tried again at the next pass, and stops no other.

        Raises:
            Fenced: another leader is at work.
        """
        if self.fleet.view().age > FLEET_FRESH:
            return  # old node facts order nothing and give nothing back
        found = [one for one in self.resources.pools() if one.pool.scaling is not None]
        looked = {one.found.pool.name: one for pool in found if (one := await self._look(pool)) is not None}
        wants = tuple(self.board.wants.values())
        self.board.wants.clear()  # who still wants asks again: a service that fell silent orders nothing twice
        planned = orders(wants, {name: one.provider for name, one in looked.items()})
        for name, one in looked.items():
            try:
                await self._carry(replace(one, provider=planned[name]))
            except (Conflict, Unavailable, InvalidInput) as exc:
                log.info("provider not written", extra={"pool": name, "why": str(exc)})

    async def _look(self, one: PoolObject) -> Looked | None:
        try:
            pool = await self.books.read(one.pool.name)
            if pool is None:
                return None
            books = read_books(pool.found.status.provider)
            provider, read = await self._provider(pool.found, books)
        except (InvalidInput, Unavailable) as exc:  # unknown spend, or an unknown zone: nothing is ordered
            log.warning("provider not read", extra={"pool": one.pool.name, "why": str(exc)})
            return None
        after = advanced(replace(provider, books=overtaken(provider)))
        after = await self._emptied(after)
        return Looked(found=pool.found, version=pool.version, before=books, provider=after, read=read)

    async def _provider(self, found: PoolObject, books: Books) -> tuple[Provider, ReadScale | None]:
        scaling = found.pool.scaling
        if scaling is None:
            raise InvalidInput(f"GPUPool {found.pool.name} has no scaleRef any more")
        if found.deleting:  # everything bought is to leave
            scaling = replace(scaling, least=0, most=0, idle_after=type(scaling.idle_after)(0.0))
        read, problem = None, ""
        try:
            read = await self.providers.read(scaling)
        except (InvalidInput, Unavailable) as exc:
            problem = str(exc)
        pools = [one.pool for one in self.resources.pools()]
        nodes = self.lost.counted(self.fleet.view().nodes)
        view = assign(pools, nodes).get(PoolName(found.pool.name))
        provider = Provider(
            pool=found.pool,
            scaling=scaling,
            books=books,
            members=view.members if view is not None else (),
            uids=frozenset(node.uid for node in nodes) | await self._unseen(books.nodes, nodes),
            scale=read.scale if read is not None else None,
            now=self.clock.now(),
            calendar=calendar_of(scaling.time_zone),
            problem=problem,
        )
        return provider, read

    async def _unseen(self, bought: Iterable[Bought], nodes: Iterable[NodeView]) -> frozenset[str]:
        """Nodes that the mirror lacks and that there are: a mirror alone is no proof that one is gone."""
        known = {node.uid for node in nodes}
        missing = [one.node for one in bought if one.node and one.uid not in known]
        fresh = [await self.fleet.fresh(name) for name in missing]
        return frozenset(node.uid for node in fresh if node is not None)

    async def _emptied(self, this: Provider) -> Provider:
        """Mark what leaves; what is in use after all stays; what a fresh reading finds empty and closed may go."""
        verified, busy = set[str](), list[str]()
        for one in this.books.nodes:
            if one.stage is not Stage.LEAVING or one.node is None:
                continue
            node = await self.fleet.fresh(one.node)
            if node is None or node.uid != one.uid:
                continue
            marked = node.annotations.get(LEAVING_ANNOTATION) == one.id
            if node.claim is not None or node.movable_pods:
                busy.append(one.id)
            elif node.unschedulable and not marked:
                log.info("node not marked", extra={"node": node.name, "why": "somebody else has cordoned it"})
            elif await self._mark(node, one, this) and marked and node.unschedulable:
                verified.add(one.id)
        await self._unmark(this, busy)
        return replace(this, books=reopened(this.books, busy), verified=frozenset(verified))

    async def _mark(self, node: NodeView, one: Bought, this: Provider) -> bool:
        """Each time anew: a mark may have been written by half."""
        try:
            await self.departures.mark(node, one.id, this.scaling.removal, self.epoch)
        except (Conflict, Unavailable, InvalidInput) as exc:
            log.info("node not marked", extra={"node": node.name, "why": str(exc)})
            return False
        return True

    async def _unmark(self, this: Provider, busy: Iterable[str]) -> None:
        """Who bears the mark and does not leave is open again."""
        staying = {one.uid for one in this.books.nodes if one.stage is Stage.HERE or one.id in busy}
        for member in this.members:
            if member.uid not in staying or LEAVING_ANNOTATION not in member.annotations:
                continue
            node = await self.fleet.fresh(member.name)
            if node is None or node.uid != member.uid or LEAVING_ANNOTATION not in node.annotations:
                continue
            try:
                await self.departures.unmark(node, this.scaling.removal, self.epoch)
            except (Conflict, Unavailable, InvalidInput) as exc:
                log.info("node not unmarked", extra={"node": node.name, "why": str(exc)})

    async def _carry(self, one: Looked) -> None:
        """Write down what is to be done, do it, and write down that it is done."""
        this = replace(one.provider, books=replace(one.provider.books, write=next_write(one.provider)))
        version = await self._save(one, this)
        write = this.books.write
        if write is None or one.read is None:
            return
        await self.providers.scale(this.scaling, write.after, one.read)
        log.info("provider scaled", extra={"pool": this.pool.name, "before": write.before, "after": write.after})
        done = replace(this, books=settled(this.books))
        await self._save(replace(one, version=version, before=this.books), done)

    async def _save(self, one: Looked, this: Provider) -> str:
        """Into the pool's status, if nobody wrote the pool meanwhile; the resourceVersion afterwards."""
        status = write_books(this)
        if status == one.found.status.provider and this.books == one.before:
            return one.version
        version = await self.books.write(this.pool.name, one.version, status)
        await self._tell(this, one.before)
        return version

    async def _tell(self, this: Provider, before: Books) -> None:
        about, name = pool_ref(this.pool), this.pool.name
        for reason, count, text in changes(before, this.books):
            await self.events.say(about, reason, f"{name}: {count} {text}")


def changes(before: Books, after: Books) -> list[tuple[Reason, int, str]]:
    """What people are told of."""
    old, new = before.counts, after.counts
    stages = {one.id: one.stage for one in before.nodes}
    back = [one for one in after.nodes if one.stage is Stage.REMOVING and stages.get(one.id) is not Stage.REMOVING]
    capped = [one for one in after.nodes if one.expiring and not _was_expiring(before, one)]
    why = next((one.why for one in after.nodes if one.stage is Stage.LEAVING and one.why), "")
    told = [
        (Reason.NODES_ORDERED, new.ordered - old.ordered, "nodes are ordered"),
        (Reason.NODES_ARRIVED, new.arrived - old.arrived, "ordered nodes are here"),
        (Reason.ORDER_FAILED, new.failed - old.failed, f"orders failed: {why}; the next provider is asked"),
        (Reason.SPEND_CAP_REACHED, len(capped), "nodes must leave: their next hour does not fit under the spend caps"),
        (Reason.NODES_GIVEN_BACK, len(back), "nodes are given back"),
    ]
    return [one for one in told if one[1] > 0]


def _was_expiring(before: Books, one: Bought) -> bool:
    return any(old.id == one.id and old.expiring for old in before.nodes)
