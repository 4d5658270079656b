"""What clients make an agent keep or bear, before and after it has decided on them: bounded in bytes, and counted."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SMALL: Final = 4_096  # bytes of one client that nobody counts
UNFINISHED_SHARE: Final = 0.1875  # of all bytes, for bodies of which nobody knows yet whether they will be whole


class Trouble(StrEnum):
    """Why a client was turned away, for what it did with its connection."""

    UNCLEAR = "unclear-request"  # 400: it cannot be read, or in two ways
    LATE_HEAD = "late-head"
    LATE_BODY = "late-body"  # 408
    LATE_READER = "late-reader"
    CONNECTIONS = "too-many-connections"  # it gave way to a newer one
    BODIES = "too-many-body-bytes"  # 503
    ANSWERS = "too-many-answer-bytes"


@dataclass(slots=True)
class _Holding:
    kept: int
    trouble: Trouble | None  # how to count that it gave way; None: it is whole, and stays
    give_up: Callable[[], None]


class HeldBytes:
    """All bodies read ahead and all answers not yet read. Beyond the bound who has held on for longest gives way.

    Whoever sends a whole body at once is never the oldest of the unfinished, so slow ones cannot keep it out.
    """

    def __init__(self, most: int, troubles: Counter[Trouble]) -> None:
        self.most = most
        self.kept = 0
        self._unfinished_bodies = 0
        self._troubles = troubles
        self._holdings: dict[object, _Holding] = {}  # the oldest first

    def unfinished(self, key: object, kept: int, trouble: Trouble, give_up: Callable[[], None]) -> None:
        """So much is kept of what is not yet whole, or not yet read; it may be given up."""
        self._set(key, _Holding(kept, trouble, give_up))
        while self._unfinished_bodies > self.most * UNFINISHED_SHARE:
            self._oldest_gives_way({Trouble.BODIES})
        self._shrink()

    def whole(self, key: object, kept: int, give_up: Callable[[], None]) -> None:
        """A body is whole. It stays if there is room; who keeps more than there is gives way itself."""
        self._set(key, _Holding(kept, None, give_up))
        self._shrink()
        if self.kept > self.most:
            self._gives_way(key, Trouble.BODIES)

    def let_go(self, key: object) -> None:
        """Nothing is kept any more."""
        holding = self._holdings.pop(key, None)
        if holding is not None:
            self._count(holding, -1)

    def _set(self, key: object, holding: _Holding) -> None:
        before = self._holdings.get(key)
        if before is not None:
            self._count(before, -1)
        self._holdings[key] = holding
        self._count(holding, 1)

    def _count(self, holding: _Holding, sign: int) -> None:
        self.kept += sign * holding.kept
        if holding.trouble is Trouble.BODIES:
            self._unfinished_bodies += sign * holding.kept

    def _shrink(self) -> None:
        while self.kept > self.most and self._oldest_gives_way({Trouble.BODIES, Trouble.ANSWERS}):
            pass

    def _oldest_gives_way(self, of: set[Trouble]) -> bool:
        oldest = next(((key, each.trouble) for key, each in self._holdings.items() if each.trouble in of), None)
        if oldest is None or oldest[1] is None:
            return False
        self._gives_way(*oldest)
        return True

    def _gives_way(self, key: object, trouble: Trouble) -> None:
        holding = self._holdings[key]
        self.let_go(key)
        self._troubles[trouble] += 1
        holding.give_up()


class Clients:
    """One agent's clients."""

    def __init__(self, most_bytes: int) -> None:
        self.troubles: Counter[Trouble] = Counter()
        self.held = HeldBytes(most_bytes, self.troubles)
