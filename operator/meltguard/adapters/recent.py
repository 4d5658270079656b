"""Answers of the API server that may be a little old: services ask every two seconds for what changes in minutes.

Whoever is about to write reads anew first, past all of this.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from meltguard.core.units import Seconds
from meltguard.ports import Clock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

READ_EVERY: Final = Seconds(10.0)
"""So old may be what nobody writes by."""

MOST_KNOWN: Final = 2000
"""Beyond so many answers, those that are too old are dropped."""


@dataclass(slots=True, kw_only=True)
class Recent(Generic[Key, Value]):
    """One question, asked of many things: each is asked again once its answer is too old, by one caller for all."""

    read: Callable[[Key], Awaitable[Value]]  # what it raises goes to the caller, and is no answer
    clock: Clock
    age: Seconds = READ_EVERY
    _known: dict[Key, tuple[Seconds, Value]] = field(default_factory=dict)
    _turns: dict[Key, asyncio.Lock] = field(default_factory=dict)

    async def of(self, key: Key) -> Value:
        """The answer, at most `age` old. Raises what `read` raises."""
        async with self._turns.setdefault(key, asyncio.Lock()):
            asked, known = self.clock.elapsed(), self._known.get(key)
            if known is not None and asked - known[0] < self.age:
                return known[1]
            value = await self.read(key)
            if len(self._known) >= MOST_KNOWN:
                self._drop_old(asked)
            self._known[key] = (asked, value)
            return value

    def forget(self, key: Key) -> None:
        """It was written, or found to be another: ask anew."""
        self._known.pop(key, None)

    def _drop_old(self, now: Seconds) -> None:
        self._known = {key: one for key, one in self._known.items() if now - one[0] < self.age}
        self._turns = {key: turn for key, turn in self._turns.items() if key in self._known or turn.locked()}
