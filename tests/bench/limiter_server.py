"""One server under load, as a process of its own: `python limiter_server.py KIND PORT [VALKEY_URL]`."""

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import uvicorn

from bench.limiter_inprocess import PLENTY, TIERS, bare, starlette
from meltguard.agent.asgi import App
from meltguard.agent.server import serving
from meltguard.agent.settings import Address, DecisionBounds, QuotaSettings, StoreAddress
from meltguard.api.limit_document import QuotaRule, TierLimit
from meltguard.core.units import Gpus, Seconds
from support.agents import a_lease, agent_settings, signed


def plain(app: Any, port: int) -> None:
    """An app under uvicorn, with the protocol that the agent uses."""
    uvicorn.run(
        app, host="127.0.0.1", port=port, http="h11", ws="none", lifespan="off", log_level="warning", access_log=False
    )


async def guarded(port: int, valkey: str | None, app: App | None) -> None:
    """The app behind the agent, or an agent that decides for a proxy, which tells no request's end.

    With a store, every user has a daily quota that is never reached.
    """
    quota = QuotaRule(images=1_000_000) if valkey else None
    tiers = [
        TierLimit(name=name, rate=PLENTY, burst=PLENTY, max_rate=PLENTY, queue=99, max_wait=9.0, quota=quota)
        for name in TIERS
    ]
    store = None if valkey is None else StoreAddress(url=valkey)
    settings = agent_settings(
        listen=Address("127.0.0.1", port),
        gpus=Gpus(64 if app is not None else 10_000),  # a decision's slot is held for a second
        decisions=DecisionBounds(held_within=Seconds(1.0)),
        quota=QuotaSettings(store=store, budget=Seconds(1.0)),
    )
    async with serving(settings, app) as running:
        running.agent.obey(signed(a_lease(*tiers, ttl=3_600.0)))
        await asyncio.Event().wait()


def main(kind: str, port: int, valkey: str | None = None) -> None:
    """Serve until ended."""
    if kind == "bare":
        plain(bare, port)
    elif kind in {"starlette", "slowapi"}:
        plain(starlette(limited=kind == "slowapi"), port)
    else:
        asyncio.run(guarded(port, valkey, None if kind == "deciding" else bare))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4])
