"""Slots of requests that run elsewhere: each held until its end is told, and never longer than a bound.

A decision endpoint sees a request before it runs and never again. A grant stands for the request in the admission: it
holds the slot until the word comes that the request has ended, or the bound. So a slot lives as long as its grant.
"""

import asyncio
import secrets
from dataclasses import dataclass, field

from meltguard.agent.admission import Admission
from meltguard.agent.intake import Intake
from meltguard.agent.refusal import Refusal
from meltguard.agent.visit import Ask, Result, Visit
from meltguard.core.units import Seconds

UNTOLD = Result(status=0, finished=False, delivered=True)
"""The end of a request whose end nobody told: it went to the image server, so its images are paid for; how long it
took is not known, so nothing is learned from it."""
NOT_SENT = Result(status=0, finished=False, delivered=False)


@dataclass(slots=True, eq=False)
class Grant:
    """One request that was let through. It holds the slot."""

    visit: Visit
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))  # whoever knows it may end it
    ended: bool = False

    def done(self) -> bool:
        """Whether the request has ended, or counts as ended."""
        return self.ended


class Grants:
    """All that run now."""

    def __init__(self, admission: Admission, bound: Seconds) -> None:
        self._admission, self._bound = admission, bound
        self._running: dict[str, Grant] = {}
        self._bounds: dict[str, asyncio.TimerHandle] = {}
        self._ran: frozenset[str] = frozenset()  # at the last look at the image server

    async def ask(self, ask: Ask, intake: Intake) -> Grant | Refusal:
        """Wait for a request's turn."""
        outcome = self._admission.enter_at_once(ask, intake) or await self._admission.admit(ask, intake)
        if isinstance(outcome, Refusal):
            return outcome
        grant = Grant(outcome)
        self._admission.delivers(outcome, None)  # who ends without having been told pays, as below
        self._admission.hand_over(outcome, grant)
        self._running[grant.id] = grant
        self._bounds[grant.id] = asyncio.get_running_loop().call_later(self._bound, self._let_go, grant)
        return grant

    def end(self, grant_id: str, result: Result) -> bool:
        """A request has ended; False where none of this id runs (any more)."""
        grant = self._running.pop(grant_id, None)
        if grant is None:
            return False
        self._bounds.pop(grant_id).cancel()
        grant.ended = True  # first: if what follows fails, the slot is lost, and found
        self._admission.finish(grant.visit, result)
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

    def close(self) -> None:
        """End all grants: their images are paid for."""
        for grant_id in list(self._running):
            self.end(grant_id, UNTOLD)

    def _let_go(self, grant: Grant) -> None:
        """Nobody told its end."""
        self._admission.lost_slots.untold += 1
        self.end(grant.id, UNTOLD)
