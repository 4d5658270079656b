"""The agent's control interface, over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from meltguard.agent.refusal import Reason
from meltguard.agent.server import ServingAgent, serving
from meltguard.agent.settings import Callers, Pace
from meltguard.api.limit_document import MAX_DOCUMENT_BYTES, TierState
from meltguard.api.signed import SigningKey
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput
from support.agents import (
    FREE,
    PLUS,
    SHORT_OF_A_POLL,
    ImageServer,
    Told,
    a_lease,
    agent_settings,
    ask,
    limited,
    look,
    push,
    signed,
)
from support.eventually import PATIENCE, soon

IMPATIENT = Callers(trust_gateway=True, head_within=Seconds(1.0), body_within=Seconds(1.0))


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def running() -> AsyncIterator[ServingAgent]:
    async with serving(agent_settings(), ImageServer(seconds=0.2)) as agent:
        yield agent


@pytest.fixture
async def impatient() -> AsyncIterator[ServingAgent]:
    async with serving(agent_settings(callers=IMPATIENT), ImageServer(seconds=0.0)) as agent:
        yield agent


async def test_a_document_is_acknowledged_with_what_is_enforced(
    running: ServingAgent, session: aiohttp.ClientSession
) -> None:
    assert (await look(session, running)).body["source"] == "OwnGpu"
    told = await push(session, running, a_lease(epoch=3, revision=14))
    assert (told.status, told.body["source"], told.body["epoch"], told.body["revision"]) == (200, "Lease", 3, 14)
    assert 60 < told.body["leaseLeft"] <= 120
    assert {"free", "plus"} <= set(told.body["tiers"])


PROBLEMS = {
    "a stranger's key": (signed(a_lease(), SigningKey("stranger", b"1" * 32)), 401, "signature"),
    "another pod": (signed(a_lease(pod_uid="pod-2")), 403, "podUid"),
    "an old revision": (signed(a_lease(revision=1)), 409, "revision"),
    "an old signature": (signed(a_lease(revision=9, issued_at=time.time() - 120)), 409, "issuedAt"),  # noqa: TID251
    "no document": (b"rate=5", 400, "body"),
}


@pytest.mark.parametrize(("raw", "status", "field"), PROBLEMS.values(), ids=PROBLEMS)
async def test_a_refusal_names_field_value_and_fix(
    running: ServingAgent, session: aiohttp.ClientSession, raw: bytes, status: int, field: str
) -> None:
    await push(session, running, a_lease(revision=5))
    told = await push(session, running, raw)
    assert (told.status, told.headers["content-type"], told.body["field"]) == (
        status,
        "application/problem+json",
        field,
    )
    assert told.body["value"]
    assert told.body["fix"]
    assert (await look(session, running)).body["revision"] == 5
    metrics = (await look(session, running, "/metrics")).body
    assert f'meltguard_agent_documents_refused_total{{status="{status}"}} 1.0' in metrics


async def test_a_document_that_is_too_large_is_not_read(running: ServingAgent, session: aiohttp.ClientSession) -> None:
    assert (await push(session, running, b" " * (MAX_DOCUMENT_BYTES + 1))).status == 413

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 8192

    url = f"http://127.0.0.1:{running.control.port}/v1/limits"
    async with session.put(url, data=endless()) as answer:
        assert answer.status == 413


async def test_a_compressed_document_is_not_unpacked(running: ServingAgent, session: aiohttp.ClientSession) -> None:
    url = f"http://127.0.0.1:{running.control.port}/v1/limits"
    async with session.put(url, data=b"x", headers={"content-encoding": "gzip"}) as answer:
        assert answer.status == 415


async def test_a_slow_body_is_given_up(impatient: ServingAgent) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.control.port)
    writer.write(b"PUT /v1/limits HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    async with soon():
        assert (await reader.readline()).split()[1] == b"408"
    writer.close()


@pytest.mark.parametrize("beginning", [b"", b"GET /v1/report HTTP/1.1\r\nx-a: b\r\n"])
async def test_a_slow_head_is_given_up(
    impatient: ServingAgent, session: aiohttp.ClientSession, beginning: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.data.port)
    writer.write(beginning)
    async with soon():
        assert await reader.read() == b""
    writer.close()
    assert (await ask(session, impatient)).status == 200


async def test_a_kept_connection_may_rest_between_requests(impatient: ServingAgent) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", impatient.control.port)
    for _ in range(2):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        async with soon():
            assert b"200" in await reader.readline()
            await reader.readuntil(b'"ok"}')
        await asyncio.sleep(1.5)  # longer than a head may take
    writer.close()


STRANGE = {"no such path": ("GET", "/v2", 404), "wrong method": ("POST", "/v1/limits", 405), "no number": ("GET", "/v1/report?after=x", 400), "endless": ("GET", "/v1/report?after=1&wait=inf", 400)}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(("method", "path", "status"), STRANGE.values(), ids=STRANGE)
async def test_a_strange_request_is_told_what_to_do(
    running: ServingAgent, session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    async with session.request(method, f"http://127.0.0.1:{running.control.port}{path}") as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")


async def sequence(session: aiohttp.ClientSession, running: ServingAgent) -> int:
    """Of what it tells now."""
    return int((await look(session, running)).body["sequence"])


async def held_open(session: aiohttp.ClientSession, running: ServingAgent, after: int, wait: float = 10.0) -> Told:
    return await look(session, running, f"/v1/report?after={after}&wait={wait}")


async def free_waiting(session: aiohttp.ClientSession, running: ServingAgent, after: int, *, some: bool) -> int:
    """Read held reports until one tells that some of free wait, or none; its sequence. Each must be news in time."""
    async with soon(SHORT_OF_A_POLL):
        while True:
            told = (await held_open(session, running, after)).body
            after = told["sequence"]
            if (told["tiers"]["free"]["waiting"] > 0) is some:
                return after


async def test_a_calm_agent_answers_when_the_wait_is_over(
    running: ServingAgent, session: aiohttp.ClientSession
) -> None:
    after, begun = await sequence(session, running), time.monotonic()
    await held_open(session, running, after, wait=0.3)
    assert time.monotonic() - begun >= 0.3


async def test_a_new_document_answers_a_held_report(running: ServingAgent, session: aiohttp.ClientSession) -> None:
    after = await sequence(session, running)
    report = asyncio.create_task(held_open(session, running, after))
    await push(session, running, a_lease(revision=2))
    async with soon(SHORT_OF_A_POLL):
        assert (await report).body["revision"] == 2


async def test_an_overload_and_its_end_answer_held_reports(session: aiohttp.ClientSession) -> None:
    async with serving(agent_settings(), ImageServer(held=(held := asyncio.Event()))) as running:
        await push(session, running, a_lease(FREE, PLUS))
        before = await sequence(session, running)
        overload = asyncio.create_task(free_waiting(session, running, before, some=True))
        requests = [asyncio.create_task(ask(session, running)) for _ in range(4)]
        told = await overload
        calm = asyncio.create_task(free_waiting(session, running, told, some=False))
        held.set()
        await asyncio.gather(*requests)
        assert await calm > told > before


async def test_held_reports_are_bounded_in_number_when_things_change_fast(
    running: ServingAgent, session: aiohttp.ClientSession
) -> None:
    begun, before = time.monotonic(), await sequence(session, running)
    for revision in range(1, 60):
        await push(session, running, a_lease(revision=revision))
    told = await sequence(session, running) - before
    assert told <= 1 + 4 * (time.monotonic() - begun)


async def test_metrics_show_every_tier_and_reason_from_the_start(
    running: ServingAgent, session: aiohttp.ClientSession
) -> None:
    await push(session, running, a_lease(FREE, PLUS))
    text = (await look(session, running, "/metrics")).body
    for tier in ("free", "plus"):
        for reason in Reason:
            assert f'meltguard_agent_refused_total{{reason="{reason.value}",tier="{tier}"}} 0.0' in text
    assert 'meltguard_agent_source{source="Lease"} 1.0' in text


async def test_callers_cannot_make_up_labels(running: ServingAgent, session: aiohttp.ClientSession) -> None:
    await push(session, running, a_lease(FREE, PLUS))
    for number in range(5):
        await ask(session, running, tier=f"made-up-{number}")
    assert "made-up" not in (await look(session, running, "/metrics")).body
    assert (await look(session, running)).body["tiers"]["free"]["offered"] == 5


async def test_several_agents_live_in_one_process(session: aiohttp.ClientSession) -> None:
    image_server = ImageServer(seconds=0.01)
    async with serving(agent_settings(), image_server) as one:
        other = replace(agent_settings(), pod_uid="pod-2")
        async with serving(other, image_server) as two:
            await push(session, one, a_lease())
            await push(session, two, a_lease(pod_uid="pod-2", revision=7))
            reports = [(await look(session, agent)).body for agent in (one, two)]
            assert [report["revision"] for report in reports] == [1, 7]
            assert reports[0]["instance"] != reports[1]["instance"]
        assert (await ask(session, one)).status == 200


async def test_an_address_in_use_is_told(running: ServingAgent) -> None:
    with pytest.raises(InvalidInput, match="choose a free address"):
        async with serving(agent_settings(listen=running.data), ImageServer()):
            pass


async def test_held_reports_do_not_hold_up_the_end(session: aiohttp.ClientSession) -> None:
    async with serving(agent_settings(), ImageServer()) as running:
        report = asyncio.create_task(held_open(session, running, await sequence(session, running)))
        await asyncio.sleep(0.1)
        begun = time.monotonic()
    assert time.monotonic() - begun < PATIENCE * SHORT_OF_A_POLL
    await asyncio.gather(report, return_exceptions=True)


async def test_a_document_counts_from_its_receipt_and_ends_on_time(session: aiohttp.ClientSession) -> None:
    pace = Pace(tick=Seconds(30.0))  # so slow that only the request itself can notice
    async with serving(agent_settings(pace=pace), ImageServer(seconds=0.0)) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0), ttl=2.0))
        assert (await ask(session, running)).status == 503
        await asyncio.sleep(2.1)
        assert (await ask(session, running)).status == 200
