"""Who waits for a GPU: tiers by priority, users within one by turns. The bounds are kept by the gate."""

from collections.abc import Callable, Iterable, Mapping

from meltguard.agent.turns import FairLine, Ticket
from meltguard.core.units import TierName, Units

NOBODY = FairLine()


class WaitingLine:
    """Tickets of all tiers."""

    def __init__(self) -> None:
        self._tiers: dict[TierName, FairLine] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tiers.values()))

    @property
    def all_units(self) -> Units:
        """How many image units wait."""
        return Units(sum(map(self.units, self._tiers)))

    def push(self, ticket: Ticket) -> None:
        """Wait for a turn."""
        self._line_of(ticket.tier).push(ticket)

    def leave(self, ticket: Ticket) -> bool:
        """Stop waiting without a turn; False where the ticket no longer waited."""
        line = self.of(ticket.tier)
        if ticket not in line:
            return False
        line.leave(ticket)
        return True

    def take(self, ticket: Ticket) -> None:
        """Give a ticket that waits its turn."""
        self.of(ticket.tier).take(ticket)

    def tiers(self) -> list[TierName]:
        """The tiers that have someone waiting."""
        return [tier for tier, line in self._tiers.items() if line]

    def of(self, tier: TierName) -> FairLine:
        """Those of one tier, to look at."""
        return self._tiers.get(tier, NOBODY)

    def waiting(self, tier: TierName) -> Mapping[Ticket, None]:
        """The same, in order of arrival; it stays true while they come and go."""
        return self._line_of(tier).waiting

    def count(self, tier: TierName) -> int:
        """How many of a tier wait."""
        return len(self.of(tier))

    def units(self, tier: TierName) -> Units:
        """How many image units of a tier wait."""
        return Units(max(0.0, self.of(tier).units))

    def first(self, order: Iterable[TierName], may_go: Callable[[Ticket], bool]) -> Ticket | None:
        """Whose turn is next in the first tier where that one may go: a tier that may not holds nobody else up."""
        heads = (self.of(tier).first() for tier in order)
        return next((ticket for ticket in heads if ticket is not None and may_go(ticket)), None)

    def _line_of(self, tier: TierName) -> FairLine:
        line = self._tiers.get(tier)
        if line is None:
            line = self._tiers[tier] = FairLine()
        return line
