"""`meltguard agent` as a process: started, killed, started again, stopped."""

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from meltguard.agent.journal import JournalEntry
from support.agent_process import START, AgentProcess, alive
from support.agents import KEY, a_lease, signed
from support.eventually import soon, until
from support.loopback import answering


@pytest.fixture
def made() -> asyncio.Event:
    """Set: the image is made."""
    return asyncio.Event()


@pytest.fixture
async def agent(tmp_path: Path, made: asyncio.Event) -> AsyncIterator[AgentProcess]:
    async def image(_request: web.Request) -> web.Response:
        await made.wait()
        return web.Response(body=b"image")

    async with answering(web.post("/i", image)) as port:
        started = AgentProcess(folder=tmp_path, flags={"upstream": f"http://127.0.0.1:{port}"})
        async with alive(started):
            yield started


async def pushed(session: aiohttp.ClientSession, agent: AgentProcess, revision: int) -> int:
    """What the push of a revision is answered with."""
    document = signed(a_lease(revision=revision))
    async with session.put(f"http://127.0.0.1:{agent.control}/v1/limits", data=document) as answer:
        return answer.status


async def asked(session: aiohttp.ClientSession, agent: AgentProcess) -> int:
    """What a request for an image is answered with."""
    headers = {"X-Meltguard-Tier": "free"}
    async with session.post(f"http://127.0.0.1:{agent.data}/i", json={"n": 1}, headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_a_killed_agent_still_refuses_what_was_old(agent: AgentProcess) -> None:
    async with aiohttp.ClientSession() as session:
        assert await pushed(session, agent, 7) == 200
        await agent.kill()
        await agent.start()
        assert [await pushed(session, agent, revision) for revision in (6, 7, 8)] == [409, 200, 200]


async def in_and_before_the_gpu(session: aiohttp.ClientSession, agent: AgentProcess) -> tuple[int, int]:
    """How many requests have its GPU, and how many wait for it."""
    async with session.get(f"http://127.0.0.1:{agent.control}/v1/report") as answer:
        told = await answer.json()
        return told["inFlight"], sum(tier["waiting"] for tier in told["tiers"].values())


async def test_a_stopped_agent_finishes_its_images_and_ends_well(agent: AgentProcess, made: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session:
        images = [asyncio.create_task(asked(session, agent)) for _ in range(2)]

        async def both_came() -> bool:
            return await in_and_before_the_gpu(session, agent) == (1, 1)

        await until(both_came)
        stopping = asyncio.create_task(agent.stop())
        async with soon(15.0):
            await asyncio.wait(images, return_when=asyncio.FIRST_COMPLETED)
            made.set()
            assert await stopping == 0
        assert sorted([await image for image in images]) == [200, 503]
    lines = agent.journal.read_text().splitlines()
    assert sorted(JournalEntry.parse(line).reason for line in lines) == ["", "agent-stopping"]


MISTAKES = {
    "no token rules": (
        ["--keys", KEY.public_text(), "--policy", "a/b", "--upstream", "http://x", "--tokens", "/nowhere"],
        b"token rules /nowhere cannot be read",
    ),
    "no key": (["--keys", "", "--policy", "a/b", "--upstream", "http://x"], b"no public key is given"),
    "half a policy": (["--keys", KEY.public_text(), "--policy", "a", "--upstream", "http://x"], b"namespace/name"),
    "no upstream": (["--keys", KEY.public_text(), "--policy", "a/b", "--upstream", "x"], b"http://HOST:PORT"),
}


@pytest.mark.parametrize(("flags", "text"), MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_is_named_with_its_fix(flags: list[str], text: bytes) -> None:
    process = await asyncio.create_subprocess_exec(*START, "--pod-uid", "p", *flags, stderr=PIPE)
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert text in stderr
    assert b"Traceback" not in stderr
