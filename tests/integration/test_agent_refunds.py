"""What an image server did not make costs nothing; a week is counted as one."""

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from meltguard.agent.asgi import App, Receive, Scope, Send
from meltguard.agent.quota_store import hashed
from meltguard.api.limit_document import QuotaRule
from meltguard.core.quota import Period
from support.agents import PLUS, ImageServer, a_free_tier, a_lease, ask, push
from support.eventually import eventually
from support.quota_agents import agents, reasons
from support.valkey import ValkeyServer, valkey_server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    with valkey_server(tmp_path) as server:
        yield server


def partly(made: str) -> App:
    """An image server that says how many of its images passed its filter."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"x-meltguard-delivered-images", made.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"images"})

    return app


MADE = {
    "one of three was blocked": ("2", 2),
    "all were blocked": ("0", 0),
    "all were made": ("3", 3),
    "more than were asked for": ("4", 4),
    "no number": ("two", 3),
    "less than none": ("-1", 3),
}


@pytest.mark.parametrize(("made", "cost"), MADE.values(), ids=MADE)
async def test_images_that_were_blocked_cost_nothing(
    valkey: ValkeyServer, session: aiohttp.ClientSession, made: str, cost: int
) -> None:
    async with agents(valkey.url, app=partly(made)) as (agent,):
        told = await ask(session, agent, json={"n": 3})
        assert told.status == 200
        assert told.headers["ratelimit"].startswith(f'"images-daily";r={max(0, 3 - cost)};')
        account = "meltguard:{serving/image-gen}:free:" + hashed("ann")
        await eventually(lambda: not valkey.client().exists(f"{account}:holds"))
        assert valkey.client().hget(account, "used") == str(cost)


async def test_an_answer_that_failed_shows_the_allowance_untouched(
    valkey: ValkeyServer, session: aiohttp.ClientSession
) -> None:
    async with agents(valkey.url, app=ImageServer(seconds=0.0, status=500)) as (agent,):
        assert (await ask(session, agent)).headers["ratelimit"].startswith('"images-daily";r=3;')


async def test_a_week_is_told_and_counted_as_one(valkey: ValkeyServer, session: aiohttp.ClientSession) -> None:
    weekly = a_free_tier(queue=200).model_copy(update={"quota": QuotaRule(images=2, per=Period.WEEK)})
    async with agents(valkey.url) as (agent,):
        await push(session, agent, a_lease(weekly, PLUS, pod_uid="pod-0", revision=2))
        told = [await ask(session, agent) for _ in range(3)]
        assert reasons(told) == {"made": 2, "weekly-quota": 1}
        assert told[2].headers["ratelimit-policy"] == '"images-weekly";q=2;w=604800'
        assert told[2].body["detail"] == "the images of this week are used up"
        assert told[2].body["violated-policies"] == ["images-weekly"]
