"""An agent process that is killed, with a real store: what it had under way is settled as soon as it runs again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from support.agent_process import AgentProcess, alive
from support.agents import PLUS, a_free_tier, a_lease, signed
from support.eventually import eventually
from support.loopback import answering
from support.valkey import ValkeyServer, valkey_server

HEADERS = {"X-Meltguard-Tier": "free", "X-Meltguard-User": "ann"}


class Images:
    """An image server that makes the first at once, and the others never."""

    def __init__(self) -> None:
        self.asked = 0

    async def image(self, _request: web.Request) -> web.Response:
        """Make one."""
        self.asked += 1
        if self.asked > 1:
            await asyncio.Event().wait()
        return web.Response(body=b"image")


@contextlib.asynccontextmanager
async def agent_of_two_gpus(folder: Path, images: Images, store: ValkeyServer) -> AsyncIterator[AgentProcess]:
    async with answering(web.post("/i", images.image)) as port:
        quota = {"gpus": "2", "quota-store": store.url, "quota-budget": "30"}
        agent = AgentProcess(folder=folder, flags={"upstream": f"http://127.0.0.1:{port}", **quota})
        async with alive(agent):
            yield agent


async def test_what_was_delivered_is_spent_and_what_was_not_is_given_back(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    images = Images()
    with valkey_server(tmp_path) as valkey:
        async with agent_of_two_gpus(tmp_path, images, valkey) as agent:
            url = f"http://127.0.0.1:{agent.control}/v1/limits"
            async with session.put(url, data=signed(a_lease(a_free_tier(images=3), PLUS))) as answer:
                assert answer.status == 200
            data = f"http://127.0.0.1:{agent.data}/i"
            async with session.post(data, json={"n": 1}, headers=HEADERS) as answer:
                assert await answer.read() == b"image"
            underway = asyncio.create_task(_asked(session, data))
            await eventually(lambda: images.asked == 2)
            await agent.kill()
            assert not await underway
            await agent.start()
            await eventually(lambda: _account(valkey) == (1, 0))


async def _asked(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether the images came."""
    with contextlib.suppress(aiohttp.ClientError):
        async with session.post(url, json={"n": 2}, headers=HEADERS) as answer:
            return answer.status == 200
    return False


def _account(valkey: ValkeyServer) -> tuple[int, int]:
    """Ann's images used, and her reservations under way."""
    client = valkey.client()
    (account,) = [key for key in client.keys("*:free:*") if not key.endswith((":holds", ":done", ":day"))]
    return int(client.hget(account, "used")), client.hlen(f"{account}:holds")
