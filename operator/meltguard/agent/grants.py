"""Slots of requests that run elsewhere: each held until its end is told, and never longer than a bound.

A decision endpoint sees a request before it runs and never again. A grant stands for the request in the admission: a
task that is let in like any request, holds the slot while it waits for the word that the request has ended, and gives
up waiting at the bound. So a slot lives as long as its task, as everywhere, and none leaks.
"""

import asyncio
import secrets
from dataclasses import dataclass, field

from meltguard.agent.admission import Admission
from meltguard.agent.intake import Intake
from meltguard.agent.refusal import Refusal
from meltguard.agent.visit import Ask, Result, Visit
from meltguard.core.units import Seconds
from meltguard.errors import Unavailable

UNTOLD = Result(status=0, finished=False, delivered=True)
"""The end of a request whose end nobody told: it went to the image server, so its images are paid for; how long it
took is not known, so nothing is learned from it."""
NOT_SENT = Result(status=0, finished=False, delivered=False)


@dataclass(slots=True, eq=False)
class Grant:
    """One request that was let through."""

    visit: Visit
    ended: "asyncio.Future[Result]"
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))  # whoever knows it may end it


class Grants:
    """All that run now."""

    def __init__(self, admission: Admission, bound: Seconds) -> None:
        self._admission, self._bound = admission, bound
        self._running: dict[str, Grant] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ran: frozenset[str] = frozenset()  # at the last look at the image server

    async def ask(self, ask: Ask, intake: Intake) -> Grant | Refusal:
        """Wait for a request's turn.

        Raises:
            Unavailable: the agent ended meanwhile.
        """
        decided: asyncio.Future[Grant | Refusal] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._stand_for(ask, intake, decided))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: decided.cancel())  # it failed before it decided
        try:
            return await decided
        except asyncio.CancelledError:
            if task.done() and not task.cancelled() and (failed := task.exception()) is not None:
                raise Unavailable(f"no decision: {failed}") from failed
            task.cancel()
            raise

    def end(self, grant_id: str, result: Result) -> bool:
        """A request has ended; False where none of this id runs (any more)."""
        grant = self._running.pop(grant_id, None)
        if grant is None or grant.ended.done():  # the bound came in this very moment
            return False
        grant.ended.set_result(result)
        return True

    def looked(self, missing: int) -> None:
        """The image server was looked at, and so many of our requests are not in it: the oldest are over, untold.

        Only those that ran at the look before: a younger one may be on its way there.
        """
        gone = [grant_id for grant_id in self._running if grant_id in self._ran][:missing]
        for grant_id in gone:
            self.end(grant_id, UNTOLD)
        self._admission.lost_slots.untold += len(gone)
        self._ran = frozenset(self._running)

    async def close(self) -> None:
        """End all grants: their images are paid for."""
        for grant_id in list(self._running):
            self.end(grant_id, UNTOLD)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        for task in self._tasks:
            task.cancel()

    async def _stand_for(self, ask: Ask, intake: Intake, decided: "asyncio.Future[Grant | Refusal]") -> None:
        outcome = await self._admission.admit(ask, intake)
        if isinstance(outcome, Refusal):
            decided.set_result(outcome)
            return
        grant = Grant(outcome, asyncio.get_running_loop().create_future())
        self._running[grant.id] = grant
        decided.set_result(grant)
        result = UNTOLD
        try:
            async with asyncio.timeout(self._bound):
                result = await grant.ended
        except TimeoutError:
            self._admission.lost_slots.untold += 1
        except asyncio.CancelledError:
            result = NOT_SENT  # who asked is gone
            raise
        finally:
            self._running.pop(grant.id, None)
            self._admission.finish(outcome, result)
