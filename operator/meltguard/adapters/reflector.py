"""One resource, mirrored: a complete list, then a watch, then again, for ever.

A watch alone lies in time: it may fall silent with the connection open, and what is deleted in a gap never leaves.
So each round begins with a complete list that replaces everything, and ends after a minute or at the first doubt.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Generic, NoReturn, TypeVar

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi, WatchEnd
from meltguard.adapters.kubernetes_list import read_all, read_event, read_object
from meltguard.core.units import Seconds
from meltguard.errors import MeltguardError, Unavailable
from meltguard.ports import Clock

T = TypeVar("T")
log = logging.getLogger(__name__)

RELIST_EVERY: Final = Seconds(60.0)
SILENCE: Final = Seconds(70.0)
"""Bookmarks come every minute: a watch that says nothing for longer is dead, though its connection be open."""

FIRST_PAUSE: Final = Seconds(0.5)
LONGEST_PAUSE: Final = Seconds(5.0)
STEADY: Final = Seconds(10.0)
"""A round that held this long says that the failures before it are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """What to mirror."""

    path: str  # of the list, such as /api/v1/nodes
    decode: Callable[[msgspec.Raw], T]  # one object; msgspec.ValidationError where it has another shape
    key: Callable[[T], str]  # the uid: a recreated object is another one


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things may take."""

    relist_every: Seconds = RELIST_EVERY
    silence: Seconds = SILENCE
    longest_pause: Seconds = LONGEST_PAUSE


USUAL: Final = Timing()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectorHealth:
    """How a mirror fares."""

    lists: int  # complete lists so far
    errors: int  # rounds that ended with an error
    problem: str  # why the last round failed; "" while all is well


class Changes:
    """Counts changes of what is mirrored, and wakes who waits for one. Several mirrors may share it."""

    def __init__(self) -> None:
        self.version = 0
        self._moved = asyncio.Event()

    def announce(self) -> None:
        """Something is not as it was."""
        self.version += 1
        self._moved.set()
        self._moved = asyncio.Event()

    async def after(self, version: int) -> int:
        """The present version, once it is later than the given one. Put a time limit around it."""
        while self.version <= version:
            await self._moved.wait()
        return self.version


class Reflector(Generic[T]):
    """Mirrors one resource as long as `run` runs. Readers see whole lists, never half of one."""

    def __init__(
        self, api: KubernetesApi, resource: Resource[T], changes: Changes, clock: Clock, timing: Timing = USUAL
    ) -> None:
        self._api = api
        self._resource = resource
        self._changes = changes
        self._clock = clock
        self._timing = timing
        self._items: dict[str, T] = {}
        self._heard: Seconds | None = None
        self._synced = asyncio.Event()
        self._lists = self._errors = self._failures = self._taken = 0
        self._problem = ""

    @property
    def age(self) -> Seconds:
        """Since a complete list, a watch event or a bookmark last came; infinite before the first list."""
        return Seconds(math.inf if self._heard is None else self._clock.elapsed() - self._heard)

    @property
    def health(self) -> ReflectorHealth:
        """Counts so far, and what is wrong now."""
        return ReflectorHealth(lists=self._lists, errors=self._errors, problem=self._problem)

    def snapshot(self) -> Mapping[str, T]:
        """Every object by its key, as of now; later changes do not show in it."""
        return dict(self._items)

    @property
    def heard(self) -> int:
        """How many lists and events were taken so far: compare it to learn whether anything came in between."""
        return self._taken

    def learn(self, found: T | None, meant: Callable[[T], bool], since: int) -> None:
        """Take what a quorum read said of one object: `found`, or None where it is gone; `meant` knows it by name.

        Nothing is taken where a list or an event came after `since` (`heard` before the read): that may be newer.
        """
        if self._taken != since or not self._synced.is_set():
            return
        key = None if found is None else self._resource.key(found)
        others = {one: item for one, item in self._items.items() if one != key and not meant(item)}
        known = others if found is None or key is None else {**others, key: found}
        if known != self._items:
            self._items = known
            self._changes.announce()

    async def synced(self) -> None:
        """Return once a first complete list is there. Put a time limit around it."""
        await self._synced.wait()

    async def run(self) -> NoReturn:
        """Mirror until cancelled. The outside's failures are counted, logged once per cause and tried again."""
        while True:
            began = self._clock.elapsed()
            try:
                await self._round()
            except MeltguardError as exc:
                self._note(exc)
                held = self._clock.elapsed() - began
                self._failures = 1 if held >= STEADY else self._failures + 1
                pause = self._pause(exc.retry_after if isinstance(exc, Unavailable) else self._timing.longest_pause)
            else:
                self._failures = 0
                pause = max(0.0, FIRST_PAUSE - (self._clock.elapsed() - began))  # a server may end every watch at once
            await asyncio.sleep(pause)

    async def _round(self) -> None:
        """List everything, then watch until the server ends it, which it does when the next list is due."""
        listing = await read_all(self._api, self._resource.path, self._resource.decode)
        fresh = {self._resource.key(item): item for item in listing.items}
        changed = fresh != self._items
        self._items = fresh
        self._lists += 1
        self._taken += 1
        self._well()
        if changed or not self._synced.is_set():
            self._synced.set()
            self._changes.announce()
        query = {"resourceVersion": listing.resource_version, "allowWatchBookmarks": "true"}
        end = WatchEnd(after=self._timing.relist_every, silence=self._timing.silence)
        async with aclosing(self._api.watch(self._resource.path, query, end)) as watch:
            async for lines in watch:
                changes = [self._take(line) for line in lines]
                self._heard = self._clock.elapsed()
                if any(changes):
                    self._changes.announce()

    def _take(self, line: bytes) -> bool:
        """Apply one event; whether it changed anything that we keep."""
        self._taken += 1
        event = read_event(self._resource.path, line)
        if event.type == "BOOKMARK":
            return False
        item = read_object(self._resource.path, event.object, self._resource.decode)
        key = self._resource.key(item)
        if event.type == "DELETED":
            return self._items.pop(key, None) is not None
        if self._items.get(key) == item:
            return False
        self._items[key] = item
        return True

    def _well(self) -> None:
        self._heard = self._clock.elapsed()
        if self._problem:
            log.info("mirror is whole again", extra={"path": self._resource.path, "errors": self._errors})
        self._problem = ""

    def _note(self, failed: MeltguardError) -> None:
        self._errors += 1
        if str(failed) != self._problem:
            log.warning("mirror is interrupted", extra={"path": self._resource.path, "why": str(failed)})
        self._problem = str(failed)

    def _pause(self, asked: Seconds) -> float:
        """Longer with each failure in a row, never shorter than asked, spread so that mirrors do not march in step."""
        backed_off = min(self._timing.longest_pause, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 8))
        return max(asked, backed_off) * random.uniform(1.0, 1.5)  # noqa: S311 - no secret
