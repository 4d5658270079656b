"""Settles reservations behind their requests' backs: told together, and again until the store answers."""

import asyncio
import contextlib
import itertools
from collections import deque
from dataclasses import replace
from typing import Final

from meltguard.agent.quota_ledger import QuotaLedger
from meltguard.agent.quota_store import Ending, QuotaStore, Settlement
from meltguard.agent.quota_told import MOST_TOGETHER, ToldStore
from meltguard.core.units import Seconds
from meltguard.errors import Unavailable

MOST_UNSETTLED: Final = 10_000
MOST_MADE: Final = 1_000  # images that an answer can say it made
TOGETHER_WITHIN: Final = Seconds(0.02)
"""Delivered images are told together, at half the cost; given-back ones at once, since their user may ask again."""


class Settling:
    """What one agent has still to tell the store."""

    def __init__(self, ledger: QuotaLedger, told: ToldStore) -> None:
        self._ledger, self._told = ledger, told
        self._unsettled: deque[Settlement] = deque(maxlen=MOST_UNSETTLED)
        self._work, self._hurry = asyncio.Event(), asyncio.Event()
        for settlement in ledger.left_behind:
            self.add(settlement)

    @property
    def nothing_to_tell(self) -> bool:
        """Whether the store knows all that was settled."""
        return not self._unsettled

    def add(self, settlement: Settlement) -> None:
        """Have the store told soon."""
        if len(self._unsettled) == MOST_UNSETTLED:
            self._ledger.told(self._unsettled[0])
        self._unsettled.append(settlement)
        self._work.set()
        if settlement.ending is Ending.RELEASE or len(self._unsettled) >= MOST_TOGETHER:
            self._hurry.set()

    def made(self, settlement: Settlement) -> None:
        """Images were set aside; this gives them back."""
        self._ledger.made(settlement)

    def delivers(self, reserved: Settlement, images: int | None) -> Settlement:
        """So many images of a reservation, or all, begin to be delivered; how it is settled then."""
        settlement = _delivered(reserved, images)
        self._ledger.delivers(settlement)
        return settlement

    def hurry(self) -> None:
        """Something is waited for."""
        self._hurry.set()

    def stir(self) -> None:
        """There is something else to do than to settle."""
        self._work.set()

    async def some(self) -> None:
        """Wait until there is something to do."""
        self._work.clear()
        await self._work.wait()

    async def gathered(self) -> None:
        """Others end meanwhile."""
        if len(self._unsettled) < MOST_TOGETHER:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TOGETHER_WITHIN):
                    await self._hurry.wait()
        self._hurry.clear()

    async def tell_some(self, store: QuotaStore) -> None:
        """Tell the oldest. Raises StoreTrouble."""
        together = tuple(itertools.islice(self._unsettled, MOST_TOGETHER))
        if not together:
            return
        self._told.acknowledged(together, await store.settle(together))
        for settlement in together:  # the oldest may have been pushed out meanwhile
            self._ledger.told(settlement)
            if self._unsettled and self._unsettled[0] is settlement:
                self._unsettled.popleft()

    async def finish(self, store: QuotaStore, within: Seconds) -> None:
        """At the end, settle what is left if the store takes it; the rest is left to the next agent of this pod."""
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(within):
                while self._unsettled:
                    await self.tell_some(store)

    def close(self) -> None:
        """Let the next agent of this pod have what is left."""
        self._ledger.close()


def _delivered(reserved: Settlement, images: int | None) -> Settlement:
    made = reserved.images if images is None else min(images, MOST_MADE)
    return replace(reserved, images=made, ending=Ending.COMMIT) if made > 0 else reserved
