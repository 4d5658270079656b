"""The FastAPI example of deploy/ways-in, run by a real uvicorn as a user runs it."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from meltguard.api.limit_document import TierState
from support.agents import FREE, KEY, PLUS, Told, a_lease, limited, signed, told_of
from support.eventually import soon, until
from support.valkey import free_port

EXAMPLE = Path(__file__).parents[2] / "deploy" / "ways-in"


@asynccontextmanager
async def example(session: aiohttp.ClientSession) -> AsyncIterator[tuple[int, int]]:
    """The example as a process; the ports of uvicorn and of the agent's control interface."""
    port, control = free_port(), free_port()
    own = {
        "MELTGUARD_POLICY": "serving/image-gen",
        "POD_UID": "pod-1",
        "MELTGUARD_PUBLIC_KEYS": KEY.public_text(),
        "MELTGUARD_CONTROL": f"127.0.0.1:{control}",
    }
    flags = ["--app-dir", str(EXAMPLE), "--no-proxy-headers", "--port", str(port), "fastapi_app:app"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uvicorn", *flags, env={**os.environ, **own}, stdout=DEVNULL
    )

    async def listens() -> bool:
        assert process.returncode is None
        try:
            async with session.get(f"http://127.0.0.1:{port}/docs") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await until(listens, within=20.0)
        yield port, control
    finally:
        process.terminate()
        async with soon(15.0):
            assert await process.wait() in {0, -15}


async def asked(session: aiohttp.ClientSession, port: int, tier: str) -> Told:
    headers = {"X-Meltguard-Tier": tier, "X-Meltguard-User": "ann"}
    url = f"http://127.0.0.1:{port}/v1/images"
    async with session.post(url, json={"prompt": "a cat", "n": 2}, headers=headers) as answer:
        return await told_of(answer)


async def test_the_example_is_guarded_from_within(session: aiohttp.ClientSession) -> None:
    async with example(session) as (port, control):
        document = signed(a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
        async with session.put(f"http://127.0.0.1:{control}/v1/limits", data=document) as pushed:
            assert pushed.status == 200
        told = [await asked(session, port, tier) for tier in ("plus", "free")]
        assert [each.status for each in told] == [200, 503]
        assert told[1].body["reason"] == "tier-suspended"
        together = await asyncio.gather(*(asked(session, port, "plus") for _ in range(3)))
        assert {each.status for each in together} == {200}
        async with session.get(f"http://127.0.0.1:{control}/v1/report") as answer:
            report = await answer.json()
        plus = report["tiers"]["plus"]
        assert (plus["admitted"], plus["admittedUnits"], plus["waited"]) == (4, 8.0, 2)
        assert report["inFlight"] == 0
