"""One request on its way through the agent: what it asks, and what became of it."""

from dataclasses import dataclass

from meltguard.agent.cost import Cost
from meltguard.agent.gate import Slot, Wish
from meltguard.agent.quota_desk import Reservation
from meltguard.agent.quota_store import hashed
from meltguard.agent.refusal import Reason
from meltguard.agent.standing import Standing
from meltguard.api.limit_document import TierLimit
from meltguard.core.units import Instant, Seconds, TierName, Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request, as its headers and body describe it."""

    tier: TierName  # as the caller's gateway named it; perhaps unknown
    user: str
    address: str = ""  # where it came from: whose turn it is where no user is known
    cost: Cost
    key: str | None = None  # idempotency key
    feature: str = ""  # that the request uses; "" for none

    @property
    def caller(self) -> str:
        """Whose turn it is: a user, or else an address."""
        return self.user or self.address


@dataclass(slots=True, kw_only=True)
class Visit:
    """A request and the limits that it met."""

    ask: Ask
    standing: Standing  # when it came
    rule: TierLimit
    wish: Wish  # what it asks of the gate
    came: Instant
    since: Seconds
    slot: Slot | None = None
    waited: Seconds = Seconds(0.0)
    reservation: Reservation | None = None
    would_refuse: Reason | None = None  # while observing

    @property
    def tier(self) -> TierName:
        """The tier that counts it: one the document knows."""
        return self.wish.tier

    def facts(self) -> dict[str, object]:
        """What may be written down of it; the user as a hash."""
        return {"tier": self.tier, "user": hashed(self.ask.user), "units": self.units, "wait": round(self.waited, 6)}

    @property
    def images(self) -> int:
        """The images it asks for."""
        return self.ask.cost.images

    @property
    def units(self) -> Units:
        """Its cost in image units."""
        return self.wish.units


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of an admitted request."""

    status: int  # 0: nothing was answered
    finished: bool  # the GPU made the images, whoever got them
    delivered: bool  # the client got them, or left while they came
