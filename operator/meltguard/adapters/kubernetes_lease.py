"""One holder at a time, by compare-and-swap on a Lease; its count of holders is the epoch that fences every write.

Remote clocks are never compared with ours: another's record has expired when we have watched it unchanged for its
lifetime on our own monotonic clock, and our own hold has ended when that clock says so, whatever the server does.
A process that is started anew in its pod waits for nobody: the one before it is dead, and the new epoch fences it.
"""

import asyncio
import logging
import random
import socket
import uuid
from dataclasses import dataclass, replace
from typing import Final

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.lease_shape import LeaseRecord, LeaseSpec, Term
from meltguard.core.units import Epoch, Seconds
from meltguard.errors import Conflict, Fenced, MeltguardError, Unavailable
from meltguard.ports import Clock

log = logging.getLogger(__name__)

NO_EPOCH: Final = Epoch(0)
RELEASED_DURATION: Final = Seconds(1.0)
RELEASE_LIMIT: Final = Seconds(3.0)


class LeaseLost(Fenced):
    """We do not hold the Lease, or can no longer be sure that we do: write nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseName:
    """Which Lease."""

    namespace: str
    name: str

    @property
    def collection(self) -> str:
        """The path that Leases of the namespace are created at."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def path(self) -> str:
        """The path of this one."""
        return f"{self.collection}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """`deadline` must be well below `duration`: the holder gives up before anybody else may take over."""

    duration: Seconds = Seconds(15.0)
    deadline: Seconds = Seconds(10.0)  # without a renewal for this long we have lost it
    renew_every: Seconds = Seconds(5.0)
    retry_every: Seconds = Seconds(2.0)


USUAL: Final = LeaseTiming()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Our term, and the record that proves it."""

    term: Term
    record: LeaseRecord
    renewed: Seconds  # on the monotonic clock, when the last successful renewal was sent


class LeaseElection:
    """One candidate. `identity` is its own at each start of the process.

    `seat` is where at most one process runs at a time, such as a pod: who held the Lease from there before has ended.
    """

    def __init__(
        self, api: KubernetesApi, name: LeaseName, clock: Clock, timing: LeaseTiming = USUAL, *, seat: str = ""
    ) -> None:
        self.identity = f"{seat or socket.gethostname()}_{uuid.uuid4().hex[:12]}"
        self._ours = f"{seat}_" if seat else self.identity  # how the holder's name begins where that term was ours
        self._api = api.within(Seconds(timing.deadline / 2))
        self._name = name
        self._clock = clock
        self._timing = timing
        self._hold: Hold | None = None
        self._attempt = 0
        self._seen: tuple[LeaseSpec, Seconds] | None = None
        self._problem = ""

    async def acquire(self, above: Epoch = NO_EPOCH) -> Epoch:
        """Wait until the Lease is ours, for as long as it takes; cancel it to give up.

        The epoch is greater than any before and than `above` (the highest found on nodes: a deleted Lease starts
        counting anew, the nodes remember).

        Raises:
            InvalidInput: the API server finds our Lease wrong; trying again does not help.
        """
        self._hold = None
        self._attempt += 1
        me = f"{self.identity}-{self._attempt}"
        while True:
            try:
                if await self._try(me, above):
                    return self._held().term.epoch
            except Conflict:
                pass  # another candidate was faster: look at what it wrote
            except Unavailable as exc:
                self._note(str(exc))
            await asyncio.sleep(self._timing.retry_every * random.uniform(0.8, 1.2))  # noqa: S311 - no secret

    async def keep(self) -> str:
        """Renew until the Lease is lost; the result says why. Nothing may be written afterwards."""
        while True:
            hold = self._held()
            due = hold.renewed + self._timing.renew_every - self._clock.elapsed()
            wait = self._timing.retry_every if self._problem else due
            await asyncio.sleep(max(0.0, min(wait, self._left())))
            if self._left() <= 0:
                return self._lose(f"no renewal for {self._timing.deadline:.0f} s: {self._problem or 'we were frozen'}")
            try:
                async with asyncio.timeout(self._left()):
                    await self._renew(hold)
                self._problem = ""
            except TimeoutError:
                self._note("the API server did not answer before the deadline")
            except Fenced as exc:
                return self._lose(str(exc))
            except MeltguardError as exc:
                self._note(str(exc))

    def ensure_held(self) -> None:
        """Return only while the Lease is surely ours.

        A frozen process that thaws learns it here, before it writes: the monotonic clock went on without it.

        Raises:
            LeaseLost: it is not, or the deadline has passed without a renewal.
        """
        if self._hold is None or self._left() <= 0:
            raise LeaseLost(f"Lease {self._name.name} is not held by {self.identity}: write nothing, start again")

    async def release(self) -> None:
        """Let the next candidate in at once. Call it when all work under the epoch has stopped."""
        hold, self._hold = self._hold, None
        if hold is None:
            return
        term = replace(hold.term, holder="", duration=RELEASED_DURATION)
        try:
            await self._api.within(RELEASE_LIMIT).put(self._name.path, hold.record.written(term, self._clock.now()))
        except MeltguardError as exc:
            log.warning("lease not released; it ends by itself", extra={"why": str(exc), "seconds": term.duration})

    async def _try(self, me: str, above: Epoch) -> bool:
        """Look, and take what is free; whether the Lease is now ours. Conflict: another was faster."""
        body = await self._api.get(self._name.path)
        record = LeaseRecord.read(body) if body else LeaseRecord.absent(self._name.namespace, self._name.name)
        if not self._is_free(record):
            return False
        # Our own name is there where the write was committed and its answer lost: the term is ours already.
        epoch = record.epoch if record.holder == me else Epoch(max(record.epoch, above) + 1)
        term = Term(holder=me, epoch=epoch, duration=self._timing.duration, acquired=self._clock.now())
        await self._write(term, record, exists=body is not None)
        self._problem = ""
        return True

    def _is_free(self, record: LeaseRecord) -> bool:
        """Nobody's, a former term of this process or this seat, or unchanged for its lifetime by our own clock."""
        now = self._clock.elapsed()
        if self._seen is None or self._seen[0] != record.spec:
            self._seen = (record.spec, now)
        expired = now - self._seen[1] >= record.lifetime(self._timing.duration)
        return not record.holder or record.holder.startswith(self._ours) or expired

    async def _renew(self, hold: Hold) -> None:
        """Write the term once more. Raises LeaseLost where another has taken over."""
        try:
            await self._write(hold.term, hold.record, exists=True)
        except Missing:
            lost = LeaseRecord.absent(self._name.namespace, self._name.name)  # deleted by someone: our term goes on
            await self._write(hold.term, lost, exists=False)
        except Conflict:
            record = LeaseRecord.read(await self._api.get(self._name.path) or b"{}")
            if (record.holder, record.epoch) != (hold.term.holder, hold.term.epoch):
                raise LeaseLost(
                    f"Lease {self._name.name} was taken over by {record.holder or 'nobody'}, epoch {record.epoch}"
                ) from None
            await self._write(hold.term, record, exists=True)  # someone edited it: labels, say

    async def _write(self, term: Term, record: LeaseRecord, *, exists: bool) -> None:
        sent = self._clock.elapsed()
        body = record.written(term, self._clock.now())
        answer = await (self._api.put(self._name.path, body) if exists else self._api.post(self._name.collection, body))
        self._hold = Hold(term=term, record=LeaseRecord.read(answer), renewed=sent)

    def _held(self) -> Hold:
        if self._hold is None:
            raise LeaseLost(f"Lease {self._name.name} was never acquired: call acquire() first")
        return self._hold

    def _left(self) -> float:
        """Seconds for which the Lease is surely ours."""
        return 0.0 if self._hold is None else self._hold.renewed + self._timing.deadline - self._clock.elapsed()

    def _lose(self, why: str) -> str:
        self._hold = None
        log.warning("lease lost", extra={"lease": self._name.name, "why": why})
        return why

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("lease is out of reach", extra={"lease": self._name.name, "why": problem})
        self._problem = problem
