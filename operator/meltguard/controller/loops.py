"""All loops of the Lease's holder: one a service, one for nodes, one for pools."""

import asyncio
import logging
from dataclasses import dataclass, field

from meltguard.api.quantities import parse_instant
from meltguard.controller.books import lately_home
from meltguard.controller.buyer import Buyer
from meltguard.controller.mover import Mover
from meltguard.controller.pools_status import PoolReporter
from meltguard.controller.purchases_seen import has_bought
from meltguard.controller.quota_keeper import QuotaKeeper
from meltguard.controller.resources import Resources
from meltguard.controller.rollouts import MIRROR_FRESH
from meltguard.controller.service import Means, ServiceLoop
from meltguard.controller.supervisor import Supervisor
from meltguard.core.units import PoolName, Seconds
from meltguard.ports import Fleet

log = logging.getLogger(__name__)

ROLL_CALL = Seconds(2.0)
POOLS_EVERY = Seconds(2.0)
PROVIDERS_EVERY = Seconds(2.0)
QUOTAS_EVERY = Seconds(0.25)
"""A claim is out of Kueue's quota before its node is cordoned; the API server is asked only where one comes or goes."""

STRAYS_EVERY = Seconds(30.0)
GREET_EVERY = Seconds(0.25)
"""A pod that becomes Ready is pushed at once, not at the next tick; where nothing changed a look costs nothing."""

RELEASE_LIMIT = Seconds(900.0)
"""A deletion waits at most this long for nodes; after it the start-up sweep goes on bringing them home."""


@dataclass(slots=True)
class HolderLoops:
    """The loops that only the holder runs."""

    means: Means
    resources: Resources
    fleet: Fleet
    mover: Mover
    pools: PoolReporter
    buyer: Buyer
    quotas: QuotaKeeper
    supervisor: Supervisor
    tick: Seconds
    moves_every: Seconds
    services: dict[str, ServiceLoop] = field(default_factory=dict)  # by policy uid
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    vanished: dict[str, Seconds] = field(default_factory=dict)  # policy uid to when it was missed first
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    _greeted: int = -1
    _group: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)

    async def run(self) -> None:
        """Run all of them until cancelled, or until a write is fenced off."""
        self.means.board.remember(lately_home(self.resources.pools()))
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self.supervisor.run("roll-call", self._roll_call, ROLL_CALL, self.bell))
                group.create_task(self.supervisor.run("moves", self.mover.run_once, self.moves_every))
                group.create_task(self.supervisor.run("pools", self.pools.run_once, POOLS_EVERY))
                group.create_task(self.supervisor.run("providers", self.buyer.run_once, PROVIDERS_EVERY))
                group.create_task(self.supervisor.run("quotas", self.quotas.run_once, QUOTAS_EVERY))
                group.create_task(self.supervisor.run("rollouts", self._resume_strays, STRAYS_EVERY))
                group.create_task(self.supervisor.run("newcomers", self._greet_newcomers, GREET_EVERY))
        finally:
            await asyncio.gather(*(service.close() for service in self.services.values()))

    def wake(self) -> None:
        """Look at everything again now."""
        self.bell.set()
        for service in self.services.values():
            service.wake.set()

    def policy_released(self, uid: str, since: str) -> bool:
        """Agents released, replicas as before, and no node claimed for it; or waited long enough."""
        return self._has_let_go(uid) or self._overdue(since)

    def _has_let_go(self, uid: str) -> bool:
        service = self.services.get(uid)
        claimed = any(node.claim and node.claim.policy_uid == uid for node in self.fleet.view().nodes)
        return service is not None and service.released and service.settled and not claimed

    def pool_released(self, name: str, since: str) -> bool:
        """No node claimed from it or to it, none bought and kept, its quota whole; or waited long enough."""
        nodes = self.fleet.view().nodes
        claimed = any(node.claim and name in {node.claim.home, node.claim.to} for node in nodes)
        bought = any(one.pool.name == name and has_bought(one.status) for one in self.resources.pools())
        even = self.quotas.is_even(PoolName(name))
        return (even and not (claimed or bought)) or self._overdue(since)

    def _overdue(self, since: str) -> bool:
        return self.means.clock.now() - parse_instant(since) > RELEASE_LIMIT

    async def _resume_strays(self) -> None:
        """A rollout that nobody holds any more goes on; who is missing from an old mirror may only be unseen."""
        if self.resources.age <= MIRROR_FRESH:
            await self.means.rollouts.resume_strays(self.resources)

    async def _greet_newcomers(self) -> None:
        """Wake a service whose serving pods are not those that it last looked at."""
        version = self.means.observer.version()
        if version == self._greeted:
            return
        self._greeted = version
        for service in self.services.values():
            if service.has_newcomers():
                service.wake.set()

    async def _roll_call(self) -> None:
        """One loop for each policy that there is."""
        found = self.resources.policies()
        for uid in self.services.keys() - found.keys():
            if self.resources.policy_exists(uid) or self._is_done_without(uid):
                await self._dismiss(uid)
        for uid, one in found.items():
            if uid in self.services:
                changed = self.services[uid].found.generation != one.generation
                self.services[uid].found = one
                if changed or one.deleting:
                    self.services[uid].wake.set()
                continue
            service = ServiceLoop(self.means, one)
            self.services[uid] = service
            name = f"service {one.policy.key}"
            self.tasks[uid] = self._group.create_task(
                self.supervisor.run(name, service.run_once, self.tick, service.wake), name=name
            )

    def _is_done_without(self, uid: str) -> bool:
        """Whether a policy that vanished has nothing left to be tidied up.

        Its finalizer was taken off by hand: only this process still knows how many pods there were before its loans.
        Where another of its name has come, agents and workload are that one's.
        """
        now, service = self.means.clock.elapsed(), self.services[uid]
        if any(one.policy.key == service.found.policy.key for one in self.resources.policies().values()):
            return True
        gone_for = now - self.vanished.setdefault(uid, now)
        service.vanish()
        return self._has_let_go(uid) or gone_for > RELEASE_LIMIT

    async def _dismiss(self, uid: str) -> None:
        self.vanished.pop(uid, None)
        service = self.services.pop(uid)
        task = self.tasks.pop(uid)
        task.cancel()
        await asyncio.wait([task])
        await service.close()
        self.means.board.forget(uid)
        self.means.telemetry.forget(service.found.policy)
        log.info("policy is gone", extra={"policy": service.found.policy.key})
