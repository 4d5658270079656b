"""What the store has answered, so that a store that fell back behind it (a fail-over that lost writes) is caught up.

Each write of a span has a number. A store that knows fewer writes than an agent has heard of has lost some: the agent
tells it again what it delivered, which is safe to repeat, and grants nothing of that book until that is done. What
cannot be told again are holds of requests in progress: so many images at most may be had beyond the quota.
"""

import itertools
import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Final

from meltguard.agent.quota_store import AccountKey, Ending, QuotaStore, Settlement

log = logging.getLogger(__name__)

MOST_TOGETHER: Final = 64  # reservations that the store is told of at once
MOST_TOLD: Final = 4_096  # deliveries that are remembered; about 2 MB


class ToldStore:
    """One agent's memory of what the store acknowledged."""

    def __init__(self) -> None:
        self._writes: dict[tuple[str, str], int] = {}  # by book and span: the highest number heard of
        self._delivered: deque[Settlement] = deque(maxlen=MOST_TOLD)
        self._again: dict[str, Settlement] = {}  # by book: the last of what is told again
        self.fell_back: Counter[str] = Counter()  # by book: how often

    def heard(self, book: str, span: str, writes: int) -> None:
        """The store knows so many writes."""
        self._writes[book, span] = max(writes, self._writes.get((book, span), 0))

    def writes(self, book: str, span: str) -> int:
        """How many writes of a span the store has shown to know."""
        return self._writes.get((book, span), 0)

    def is_caught_up(self, book: str) -> bool:
        """Whether the store knows all that it was told of a book."""
        return book not in self._again

    def behind(self, account: AccountKey, span: str, writes: int) -> Sequence[Settlement]:
        """The store knows only so many writes: what to tell it again."""
        book = account.book
        self._writes = {place: count for place, count in self._writes.items() if place[0] != book}
        self._writes[book, span] = writes
        self.fell_back[book] += 1
        again = [one for one in self._delivered if one.account.book == book and one.span == span]
        if again:
            self._again[book] = again[-1]
        log.warning("the quota store lost writes in a fail-over", extra={"book": book, "told_again": len(again)})
        return again

    def acknowledged(self, settlements: Sequence[Settlement], writes: Mapping[str, int]) -> None:
        """The store was told these; `writes` is what it knows then, by book."""
        for one in settlements:
            book = one.account.book
            if self._again.get(book) is one:
                del self._again[book]
            elif one.ending is Ending.COMMIT and book not in self._again:
                self._delivered.append(one)
            self.heard(book, one.span, writes.get(book, 0))

    async def tell_anew(self, store: QuotaStore) -> None:
        """A store that was away answers: perhaps another one that has not heard of all. Raises StoreTrouble."""
        waiting = iter(tuple(self._delivered))
        while together := tuple(itertools.islice(waiting, MOST_TOGETHER)):
            await store.settle(together)
        self._writes.clear()  # its numbers begin where it is
        self._again.clear()
