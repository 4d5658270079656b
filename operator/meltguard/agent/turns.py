"""One tier's waiting requests, by fair turns between its users (start-time fair queueing in image units).

Each user's next request bears a start tag: where the line's virtual time stood when the user came, or where the user's
last turn ended if that is later. The smallest tag goes first, then who came first. A turn costs O(log users).
"""

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from meltguard.core.units import Seconds, TierName, Units

MOST_REMEMBERED: Final = 1_024  # users who wait no more and would not yet be first again
SPARE: Final = 16  # outdated entries of the heap that are borne beside twice the users


@dataclass(slots=True, eq=False)
class Ticket:
    """One waiting request."""

    tier: TierName
    units: Units
    since: Seconds
    rated: bool  # its tier's rate has been drawn already, or does not bind it
    user: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a waiting request may expect if nobody more important comes."""

    position: int  # 1 is the next of all that wait
    wait: Seconds  # estimate


@dataclass(slots=True, eq=False)
class UserTurns:
    """One user of a line."""

    start: float  # tag of the first ticket, in image units
    tickets: dict[Ticket, int] = field(default_factory=dict)  # to their numbers, in order of arrival
    units: float = 0.0

    @property
    def first(self) -> Ticket:
        """The ticket whose turn is next."""
        return next(iter(self.tickets))

    @property
    def newest(self) -> Ticket:
        """The ticket that came last."""
        return next(reversed(self.tickets))


class Crowds:
    """Who has most waiting. A number changes by one at a time, so each change costs O(1)."""

    def __init__(self) -> None:
        self._users: dict[int, dict[str, None]] = {}
        self.most = 0

    def change(self, user: str, before: int, now: int) -> None:
        """A user's number of tickets changed by one."""
        if before:
            del self._users[before][user]
        if now:
            self._users.setdefault(now, {})[user] = None
        self.most = max(self.most, now)
        if self.most and not self._users[self.most]:
            del self._users[self.most]
            self.most -= 1

    def first(self) -> str:
        """The one who has had most for longest."""
        return next(iter(self._users[self.most]))


class FairLine:
    """The waiting requests of one tier."""

    def __init__(self) -> None:
        self.waiting: dict[Ticket, None] = {}  # in order of arrival
        self._users: dict[str, UserTurns] = {}  # who waits
        self._heap: list[tuple[float, int, Ticket]] = []  # tag, number and first ticket of each; some outdated
        self._ended: OrderedDict[str, float] = OrderedDict()  # where users who wait no more would go on
        self._crowds = Crowds()
        self._now = 0.0  # virtual time: the tag of the last turn
        self._number = 0
        self.units = 0.0
        self.rated = 0.0  # of the units, those that no rate holds back any more

    def __len__(self) -> int:
        return len(self.waiting)

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self.waiting

    def tickets(self) -> list[Ticket]:
        """All of them, the oldest first."""
        return list(self.waiting)

    def oldest(self) -> Ticket | None:
        """The one that came first."""
        return next(iter(self.waiting), None)

    def first(self) -> Ticket | None:
        """The one whose turn is next."""
        while self._heap:
            ticket = self._heap[0][2]
            turns = self._users.get(ticket.user)
            if turns is not None and turns.first is ticket:
                return ticket
            heapq.heappop(self._heap)
        return None

    def push(self, ticket: Ticket) -> None:
        """Wait for a turn."""
        self._number += 1
        turns = self._users.get(ticket.user)
        if turns is None:
            turns = UserTurns(max(self._now, self._ended.pop(ticket.user, 0.0)))
            self._users[ticket.user] = turns
            heapq.heappush(self._heap, (turns.start, self._number, ticket))
        turns.tickets[ticket] = self._number
        turns.units += ticket.units
        self._crowds.change(ticket.user, len(turns.tickets) - 1, len(turns.tickets))
        self.waiting[ticket] = None
        self.units += ticket.units
        self.rated += ticket.units * ticket.rated

    def take(self, ticket: Ticket) -> None:
        """Give the first its turn, which its user pays with later tags."""
        turns = self._users[ticket.user]
        self._now = max(self._now, turns.start)
        turns.start += ticket.units
        self.leave(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Stop waiting. Who goes without a turn pays nothing."""
        turns = self._users[ticket.user]
        was_first = turns.first is ticket
        del turns.tickets[ticket], self.waiting[ticket]
        turns.units -= ticket.units
        self._crowds.change(ticket.user, len(turns.tickets) + 1, len(turns.tickets))
        self.units -= ticket.units
        self.rated -= ticket.units * ticket.rated
        if not self.waiting:
            self._forget()
        elif not turns.tickets:
            self._go(ticket.user, turns.start)
        elif was_first:
            heapq.heappush(self._heap, (turns.start, turns.tickets[turns.first], turns.first))
        if len(self._heap) > 2 * len(self._users) + SPARE:
            self._heap = [(each.start, each.tickets[each.first], each.first) for each in self._users.values()]
            heapq.heapify(self._heap)

    def newest_of_heaviest(self, user: str) -> Ticket | None:
        """Whose place a new request of this user may take: the newest of who waits with two more at least.

        One less than two, and both would take each other's place for ever.
        """
        turns = self._users.get(user)
        if self._crowds.most < (len(turns.tickets) if turns is not None else 0) + 2:
            return None
        return self._users[self._crowds.first()].newest

    def units_before(self, user: str) -> Units:
        """About how many image units would have their turn before a new request of this user.

        Its own that wait, and of the others as many turns each as it needs itself.
        """
        turns = self._users.get(user)
        own, count = (turns.units, len(turns.tickets)) if turns is not None else (0.0, 0)
        others = len(self._users) - (turns is not None)
        if not others:
            return Units(own)
        units = self.units - own
        mean = units / (len(self.waiting) - count)
        return Units(own + min(units, others * (count + 1) * mean))

    def before(self, ticket: Ticket) -> tuple[int, Units]:
        """How many requests and image units have their turn before this one if nobody comes. Costs O(their number)."""
        mine = (self._tag(ticket), self._users[ticket.user].tickets[ticket])
        count, units = 0, 0.0
        for turns in self._users.values():
            tag = turns.start
            for each, number in turns.tickets.items():
                if (tag, number) >= mine:
                    break
                count, units, tag = count + 1, units + each.units, tag + each.units
        return count, Units(units)

    def _tag(self, ticket: Ticket) -> float:
        turns = self._users[ticket.user]
        tag = turns.start
        for each in turns.tickets:
            if each is ticket:
                break
            tag += each.units
        return tag

    def _go(self, user: str, start: float) -> None:
        """The user waits no more; the tag is kept while it matters."""
        del self._users[user]
        if start > self._now:
            self._ended[user] = start
            if len(self._ended) > MOST_REMEMBERED:
                self._ended.popitem(last=False)

    def _forget(self) -> None:
        """Nobody waits: all are equal again, and sums are exactly zero."""
        self._users.clear()
        self._heap.clear()
        self._ended.clear()
        self._now = self.units = self.rated = 0.0
