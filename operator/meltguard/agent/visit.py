"""One request on its way through the agent: what it asks, and what became of it."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from meltguard.agent.cost import Cost
from meltguard.agent.gate import Wish
from meltguard.agent.lane import Lane, Slot
from meltguard.agent.quota_asks import Reservation
from meltguard.agent.quota_store import hashed
from meltguard.agent.refusal import Reason
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.limit_document import TierLimit
from meltguard.core.units import Seconds, TierName


class Ask(msgspec.Struct, frozen=True):
    """A request, as its headers and body describe it."""

    tier: TierName  # as the caller's gateway named it; perhaps unknown
    user: str
    cost: Cost
    address: str = ""  # where it came from: whose turn it is where no user is known
    key: str | None = None  # idempotency key
    feature: str = ""  # that the request uses; "" for none

    @property
    def caller(self) -> str:
        """Whose turn it is: a user, or else an address."""
        return self.user or self.address


class Waiter(Protocol):
    """Who waits."""

    def watch(self, when_gone: Callable[[], None]) -> None:
        """Call back when the client leaves."""
        ...

    def waits(self, ticket: Ticket) -> None:
        """It has a place in the line."""
        ...


class Visit(Slot, eq=False):
    """A request and the limits that it met. Once it was admitted it is the slot that it holds."""

    ask: Ask
    lane: Lane  # when it came
    came: Seconds  # when it did
    waited: Seconds = Seconds(0.0)
    reservation: Reservation | None = None
    would_refuse: Reason | None = None  # while observing
    retry: bool = False  # of one that came lately: it was counted then

    @property
    def rule(self) -> TierLimit:
        """The limits of its tier."""
        return self.lane.rule

    @property
    def standing(self) -> Standing:
        """What held."""
        return self.lane.standing

    @property
    def wish(self) -> Wish:
        """What it asks of the gate."""
        return Wish(self.tier, self.units, self.ask.caller)

    def facts(self) -> dict[str, object]:
        """What may be written down of it; the user as a hash."""
        return {"tier": self.tier, "user": hashed(self.ask.user), "units": self.units, "wait": round(self.waited, 6)}

    @property
    def images(self) -> int:
        """The images it asks for."""
        return self.ask.cost.images


class Result(msgspec.Struct, frozen=True):
    """What became of an admitted request."""

    status: int  # 0: nothing was answered
    finished: bool  # the GPU made the images, whoever got them
    delivered: bool  # the client got them, or left while they came
    images: int | None = None  # made of those asked for, where the image server says so; the rest is given back
