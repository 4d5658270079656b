"""Who waits for a GPU: by priority, then by arrival. A value without timers; the bounds are kept by the gate."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from meltguard.core.units import Seconds, TierName, Units


@dataclass(slots=True, eq=False)
class Ticket:
    """One waiting request."""

    tier: TierName
    units: Units
    since: Seconds
    rated: bool  # its tier's rate has been drawn already, or does not bind it


class WaitingLine:
    """Tickets of all tiers, each tier in order of arrival."""

    def __init__(self) -> None:
        self._tiers: dict[TierName, dict[Ticket, None]] = {}  # a dict keeps order and removes anywhere at once
        self._units: dict[TierName, float] = {}
        self._rated: dict[TierName, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tiers.values()))

    @property
    def all_units(self) -> Units:
        """How many image units wait."""
        return Units(sum(self._units.values()))

    def push(self, ticket: Ticket) -> None:
        """Wait behind the others of the tier."""
        self._tiers.setdefault(ticket.tier, {})[ticket] = None
        self._units[ticket.tier] = self._units.get(ticket.tier, 0.0) + ticket.units
        self._rated[ticket.tier] = self._rated.get(ticket.tier, 0.0) + ticket.units * ticket.rated

    def leave(self, ticket: Ticket) -> bool:
        """Stop waiting; False where the ticket no longer waited."""
        tickets = self._tiers.get(ticket.tier, {})
        if ticket not in tickets:
            return False
        del tickets[ticket]
        self._units[ticket.tier] = self._units[ticket.tier] - ticket.units if tickets else 0.0
        self._rated[ticket.tier] = self._rated[ticket.tier] - ticket.units * ticket.rated if tickets else 0.0
        return True

    def tiers(self) -> list[TierName]:
        """The tiers that have someone waiting."""
        return [tier for tier, tickets in self._tiers.items() if tickets]

    def of(self, tier: TierName) -> list[Ticket]:
        """A tier's tickets, the oldest first."""
        return list(self._tiers.get(tier, {}))

    def count(self, tier: TierName) -> int:
        """How many of a tier wait."""
        return len(self._tiers.get(tier, {}))

    def units(self, tier: TierName) -> Units:
        """How many image units of a tier wait."""
        return Units(self._units.get(tier, 0.0))

    def rated_units(self, tier: TierName) -> Units:
        """How many of them no rate holds back any more."""
        return Units(self._rated.get(tier, 0.0))

    def head(self, tier: TierName) -> Ticket | None:
        """A tier's oldest ticket."""
        return next(iter(self._tiers.get(tier, {})), None)

    def first(self, order: Iterable[TierName], may_go: Callable[[Ticket], bool]) -> Ticket | None:
        """The oldest ticket of the first tier whose oldest may go: a tier that may not holds nobody else up."""
        heads = (self.head(tier) for tier in order)
        return next((ticket for ticket in heads if ticket is not None and may_go(ticket)), None)
