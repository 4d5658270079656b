"""Agents before an image server in this process, and what tests ask of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiohttp
import pytest

from meltguard.agent.server import ServingAgent, serving
from support.agents import Told, agent_settings, look, told_of
from support.eventually import eventually, until


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client with as many connections as it likes."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as opened:
        yield opened


def agent(image_server: Any, **changes: Any) -> AbstractAsyncContextManager[ServingAgent]:
    return serving(agent_settings(**changes), image_server)


async def report(session: aiohttp.ClientSession, running: ServingAgent) -> Any:
    return (await look(session, running)).body


async def waiting(session: aiohttp.ClientSession, running: ServingAgent, tier: str, count: int) -> None:
    async def reached() -> bool:
        return bool((await report(session, running))["tiers"][tier]["waiting"] == count)

    await until(reached)


def url_of(running: ServingAgent, path: str) -> str:
    """Where its users ask."""
    return f"http://{running.data.host}:{running.data.port}{path}"


async def visit(
    session: aiohttp.ClientSession, running: ServingAgent, path: str, user: str = "ann", **more: Any
) -> Told:
    """One request of a user whom a gateway names."""
    headers = {"X-Meltguard-User": user, **more.pop("headers", {})}
    async with session.request(more.pop("method", "GET"), url_of(running, path), headers=headers) as answer:
        return await told_of(answer)


async def fetched(session: aiohttp.ClientSession, running: ServingAgent, path: str) -> Told:
    """The answer at a place, once it is there."""
    return await polled(lambda: visit(session, running, path))


async def polled(asks: Callable[[], Awaitable[Told]]) -> Told:
    """What a poll is answered with, once it is no 202."""

    async def done() -> bool:
        told.append(await asks())
        return told[-1].status != 202

    told: list[Told] = []
    await until(done, within=10.0)
    return told[-1]


async def idle(running: ServingAgent) -> None:
    """Return once none of its requests is in a GPU."""
    await eventually(lambda: running.agent.report().in_flight == 0)


def statuses(told: list[Told]) -> dict[int, int]:
    return {status: sum(each.status == status for each in told) for status in {each.status for each in told}}
