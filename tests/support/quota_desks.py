"""A quota desk with a real store behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from meltguard.agent.news import News
from meltguard.agent.quota_asks import Denial, QuotaAsk, Reservation
from meltguard.agent.quota_desk import QuotaDesk
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.settings import StoreAddress
from meltguard.agent.statefile import StateFile
from meltguard.api.limit_document import QuotaRule
from meltguard.api.store_state import StoreState
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds
from support.eventually import eventually

THREE = QuotaRule(images=3)
POLICY = "serving/image-gen"
BUDGET = Seconds(15.0)
"""For one answer, by a store that answers, well or ill."""


@contextlib.asynccontextmanager
async def working_desk(
    address: StoreAddress, state: Path | None = None, budget: Seconds = BUDGET
) -> AsyncIterator[QuotaDesk]:
    """A desk that settles, and looks after its store every 50 ms while that is down.

    A store that does not answer has its state after three times the budget.
    """
    store = ValkeyQuotaStore(address, budget)
    desk = QuotaDesk(POLICY, store, SystemClock(), StateFile(state), News())
    task = asyncio.create_task(desk.run(Seconds(0.05)))
    try:
        yield desk
    finally:
        await desk.finish(Seconds(1.0))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await store.close()


async def claim(desk: QuotaDesk, user: str = "ann", **changes: Any) -> Reservation | Denial:
    """Ask for one image."""
    fields = {"tier": "free", "user": user, "key": None, "images": 1, "rule": THREE, **changes}
    return await desk.reserve(QuotaAsk(hold_for=Seconds(60.0), **fields))


async def spend(desk: QuotaDesk, user: str = "ann", **changes: Any) -> str:
    """Ask for one image and have it; the reason where there is none."""
    outcome = await claim(desk, user, **changes)
    if isinstance(outcome, Denial):
        return outcome.reason.value
    desk.commit(outcome)
    await desk.finish(Seconds(30.0))
    return "had"


async def stands(desk: QuotaDesk, state: StoreState, within: float = 5.0) -> None:
    """Wait until the desk says that of its store."""
    await eventually(lambda: desk.store_state is state, within)
