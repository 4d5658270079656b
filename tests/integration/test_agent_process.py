"""`meltguard agent` as a process: started, killed, started again, stopped."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from meltguard.agent.journal import JournalEntry
from support.agent_process import START, AgentProcess
from support.agents import KEY
from support.loopback import answering


async def slow_image(_request: web.Request) -> web.Response:
    await asyncio.sleep(0.5)
    return web.Response(body=b"image")


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[AgentProcess]:
    async with answering(web.post("/i", slow_image)) as port:
        started = AgentProcess(tmp_path, f"http://127.0.0.1:{port}")
        await started.start()
        yield started
        with contextlib.suppress(ProcessLookupError):
            await started.end(signal.SIGKILL)


async def test_a_killed_agent_still_refuses_what_was_old(agent: AgentProcess) -> None:
    async with aiohttp.ClientSession() as session:
        assert await agent.push(session, 7) == 200
        await agent.end(signal.SIGKILL)
        await agent.start()
        assert [await agent.push(session, revision) for revision in (6, 7, 8)] == [409, 200, 200]


async def test_a_stopped_agent_finishes_its_images_and_ends_well(agent: AgentProcess, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        images = [asyncio.create_task(agent.ask(session)) for _ in range(2)]
        await asyncio.sleep(0.3)
        assert await agent.end(signal.SIGTERM) == 0
        told = [await image for image in images]
    assert sorted(status for status, _ in told) == [200, 503]
    lines = (tmp_path / "pod-1-journal.jsonl").read_text().splitlines()
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
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, "agent", "--pod-uid", "p", *flags, stderr=PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert text in stderr
    assert b"Traceback" not in stderr
