"""What stands between users and serving pods: sends each request to the pod with the fewest in progress."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from meltguard.core.units import Seconds
from meltguard.demo.records import Endpoint, Endpoints

LOOK_EVERY: Final = Seconds(0.2)


class Gateway:
    """The pods as last told, and how many requests each has in progress."""

    def __init__(self, told: Path, chance: Random) -> None:
        self._told = told
        self._chance = chance
        self._version = 0
        self._pods: tuple[Endpoint, ...] = ()
        self._open: Counter[str] = Counter()

    async def follow(self) -> None:
        """Read the file again whenever it was replaced; runs until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_EVERY)  # a file's change cannot be awaited

    def look(self) -> None:
        """Take the file's pods if it was replaced since the last look."""
        try:
            version = self._told.stat().st_mtime_ns
            if version == self._version:
                return
            pods = msgspec.json.decode(self._told.read_bytes(), type=Endpoints).pods
        except FileNotFoundError:
            return  # nobody is ready yet
        self._version, self._pods = version, pods

    @property
    def pods(self) -> tuple[Endpoint, ...]:
        """Pods that may be sent to."""
        return self._pods

    @contextmanager
    def turn(self, without: frozenset[str]) -> Iterator[Endpoint | None]:
        """The least busy pod, counted as busier while the context lasts; None where there is none."""
        left = [pod for pod in self._pods if pod.name not in without] or list(self._pods)
        if not left:
            yield None
            return
        least = min(self._open[pod.name] for pod in left)
        pod = self._chance.choice([pod for pod in left if self._open[pod.name] == least])
        self._open[pod.name] += 1
        try:
            yield pod
        finally:
            self._open[pod.name] -= 1
