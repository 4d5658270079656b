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
from support.eventually import soon
from support.loopback import answering


async def slow_image(_request: web.Request) -> web.Response:
    await asyncio.sleep(0.5)
    return web.Response(body=b"image")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[AgentProcess]:
    async with answering(web.post("/i", slow_image)) as port:
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


async def test_a_stopped_agent_finishes_its_images_and_ends_well(agent: AgentProcess) -> None:
    async with aiohttp.ClientSession() as session:
        images = [asyncio.create_task(asked(session, agent)) for _ in range(2)]
        await asyncio.sleep(0.3)
        async with soon(15.0):
            assert await agent.stop() == 0
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
