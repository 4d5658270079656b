"""Agents with one quota store between them."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp

from meltguard.agent.asgi import App
from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import QuotaSettings, StoreAddress
from meltguard.core.units import Gpus, PodUid, Seconds
from support.agents import PLUS, ImageServer, Told, a_free_tier, a_lease, agent_settings, push

THREE = a_free_tier(images=3, queue=200)
BUDGET = Seconds(30.0)
"""For a store that answers: tests share two cores with others, and none that uses this judges time."""


@contextlib.asynccontextmanager
async def agents(
    url: str | None, count: int = 1, app: App | None = None, **changes: Any
) -> AsyncIterator[list[ServingAgent]]:
    """Agents that count three images a day for free, none for plus."""
    store, budget = StoreAddress(url=url) if url else None, changes.pop("budget", BUDGET)
    quota = QuotaSettings(store=store, budget=budget, probe_every=Seconds(0.1))
    async with contextlib.AsyncExitStack() as stack:
        running = []
        for number in range(count):
            settings = agent_settings(quota=quota, gpus=Gpus(4), **changes)
            settings = replace(settings, pod_uid=PodUid(f"pod-{number}"))
            running.append(await stack.enter_async_context(serving(settings, app or ImageServer(seconds=0.02))))
        async with aiohttp.ClientSession() as session:
            for number, agent in enumerate(running):
                await push(session, agent, a_lease(THREE, PLUS, pod_uid=f"pod-{number}"))
        yield running


def reasons(told: list[Told]) -> dict[str, int]:
    """How many were made, and how many refused for what."""
    words = [each.body["reason"] if each.status >= 400 else "made" for each in told]
    return {word: words.count(word) for word in sorted(set(words))}
