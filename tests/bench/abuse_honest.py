"""Those who use an agent honestly while it is attacked: they ask, push, read, and measure."""

import asyncio
import re
import time
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.abuse_attacks import Victim
from support.agents import a_lease, signed

HONEST_EVERY: Final = 0.05
PUSH_EVERY: Final = 0.2
EPOCH, REVISION = 5, 9


async def honest(victim: Victim, seconds: float) -> tuple[list[float], Counter[str]]:
    """One request every 50 ms whatever the others take; their times, and what those got that got no image."""
    took: list[float] = []
    failed: Counter[str] = Counter()
    known = {"Authorization": f"Bearer {victim.token}"}

    async def ask(session: aiohttp.ClientSession) -> None:
        began = time.perf_counter()
        try:
            async with session.post(f"http://127.0.0.1:{victim.data}/i", json={"n": 1}, headers=known) as answer:
                body = await answer.read()
                told = "" if body == b"image" else f"{answer.status} {body[:80]!r}"
        except (aiohttp.ClientError, TimeoutError) as exc:
            told = type(exc).__name__
        took.append(time.perf_counter() - began)
        if told:
            failed[told] += 1

    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20.0)) as session,
        asyncio.TaskGroup() as tasks,
    ):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            tasks.create_task(ask(session))
            await asyncio.sleep(HONEST_EVERY)
    return took, failed


async def push(victim: Victim, revision: int) -> int:
    """An honest push; its status."""
    document = signed(a_lease(epoch=EPOCH, revision=revision))
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"http://127.0.0.1:{victim.control}/v1/limits", data=document) as answer,
    ):
        return answer.status


async def pushes(victim: Victim, seconds: float) -> tuple[list[float], Counter[str]]:
    """An honest leader's pushes, the same document on a new connection each; their times, and what went wrong."""
    took: list[float] = []
    failed: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(10.0):
                status = await push(victim, REVISION)
            told = "" if status == HTTPStatus.OK else str(status)
        except (aiohttp.ClientError, TimeoutError) as exc:
            told = type(exc).__name__
        took.append(time.perf_counter() - began)
        if told:
            failed[told] += 1
        await asyncio.sleep(PUSH_EVERY)
    return took, failed


def resident(pid: int) -> float:
    """Mebibytes of memory that a process has."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1_024


async def growth(pid: int, seconds: float) -> float:
    """By how many mebibytes a process grows at most."""
    before = most = resident(pid)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        most = max(most, resident(pid))
        await asyncio.sleep(0.1)
    return most - before


async def report(victim: Victim) -> dict[str, Any]:
    """What the agent says it enforces."""
    url = f"http://127.0.0.1:{victim.control}/v1/report"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        read: dict[str, Any] = await answer.json()
        return read


async def token_outcomes(victim: Victim) -> dict[str, int]:
    """What became of requests' tokens."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{victim.control}/metrics") as answer,
    ):
        text = await answer.text()
    found = re.findall(r'^meltguard_agent_tokens_total\{outcome="(.+)"\} (\S+)$', text, re.MULTILINE)
    return {outcome: int(float(count)) for outcome, count in found}
