"""Which connection gives way to a new one: the one whose request has been unfinished for longest."""

from collections import Counter
from typing import Generic, TypeVar

C = TypeVar("C")


class Crowd(Generic[C]):
    """The connections of one server."""

    def __init__(self, most: int, most_of_address: int) -> None:
        self._most, self._most_of_address = most, most_of_address
        self._addresses: dict[C, str] = {}
        self._of_address: Counter[str] = Counter()
        self._unfinished: dict[C, None] = {}  # with nothing asked, or in part; the oldest first

    def join(self, connection: C, address: str, count: int) -> C | None:
        """A connection is made, and there are so many now; answers which gives way to it: perhaps it must itself."""
        self._addresses[connection] = address
        self._of_address[address] += 1
        oldest: C | None = None
        if self._of_address[address] > self._most_of_address:
            oldest = next((each for each in self._unfinished if self._addresses[each] == address), connection)
        elif count > self._most:
            oldest = next(iter(self._unfinished), connection)
        self._unfinished[connection] = None
        if oldest is not None:
            self.leave(oldest)
        return oldest

    def is_asking(self, connection: C) -> None:
        """Its request is whole: it gives way to nobody until it is answered."""
        self._unfinished.pop(connection, None)

    def is_unfinished(self, connection: C) -> None:
        """It sends a request, or may do so: since when counts."""
        if connection in self._addresses:
            self._unfinished.setdefault(connection, None)

    def leave(self, connection: C) -> None:
        """It is no more."""
        address = self._addresses.pop(connection, None)
        if address is None:
            return
        self._unfinished.pop(connection, None)
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]
