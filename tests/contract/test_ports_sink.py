"""What every LimitSink does: the fake, and HTTP to real agents."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from meltguard.adapters.agent_push import AgentPush, PushTiming
from meltguard.agent.control import LONGEST_POLL
from meltguard.agent.server import ServingAgent, serving
from meltguard.clock import SystemClock
from meltguard.core.grant import Grant, GrantKind
from meltguard.core.units import Epoch, Revision, Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import LimitSink, Target
from support.agents import KEY, POD, SHORT_OF_A_POLL, ImageServer, agent_settings
from support.eventually import soon
from support.fakes import FakeSink
from support.grants import a_grant, a_target

QUICK = PushTiming(push=Seconds(60.0), hold=Seconds(1.0), slack=Seconds(60.0))
LASTING = replace(QUICK, hold=Seconds(LONGEST_POLL))


@dataclass(frozen=True)
class Setting:
    """A sink, one agent that obeys, one address where none is, and a way to make something happen at the agent."""

    sink: LimitSink
    target: Target
    nobody: Target
    stir: Callable[[], Awaitable[None]]


Making = Callable[[PushTiming], AbstractAsyncContextManager[Setting]]


@asynccontextmanager
async def faked(timing: PushTiming) -> AsyncIterator[Setting]:
    sink = FakeSink(hold=timing.hold)
    nobody = a_target("pod-9")
    sink.silent.add(nobody.pod)

    async def stir() -> None:
        await asyncio.sleep(0)
        sink.tell(POD)

    yield Setting(sink, a_target(POD), nobody, stir)


@asynccontextmanager
async def over_http(timing: PushTiming) -> AsyncIterator[Setting]:
    async with serving(agent_settings(), ImageServer()) as agent, AgentPush(KEY, timing) as sink:
        target = a_target(POD, agent.control.host, agent.control.port)

        async def stir() -> None:
            await _ask_for_an_image(agent)

        yield Setting(sink, target, a_target("pod-9", port=9), stir)


async def _ask_for_an_image(agent: ServingAgent) -> None:
    _, writer = await asyncio.open_connection(agent.data.host, agent.data.port)
    request = "POST /v1/images HTTP/1.1\r\nHost: a\r\nX-Meltguard-Tier: free\r\nContent-Length: 7\r\n\r\n"
    writer.write(request.encode() + b'{"n":1}')
    await writer.drain()
    writer.close()


@pytest.fixture(params=[faked, over_http], ids=["fake", "http"])
def made(request: pytest.FixtureRequest) -> Making:
    """How a setting is made."""
    making: Making = request.param
    return making


@pytest.fixture
async def setting(made: Making) -> AsyncIterator[Setting]:
    """Reads are held for as long as agents hold them."""
    async with made(LASTING) as found:
        yield found


@pytest.fixture
async def brief(made: Making) -> AsyncIterator[Setting]:
    """Reads are held for a moment."""
    async with made(QUICK) as found:
        yield found


def now(**changes: object) -> Grant:
    return replace(a_grant(POD), issued_at=SystemClock().now(), **changes)  # type: ignore[arg-type] # a test's


async def test_the_answer_says_what_is_enforced_now(setting: Setting) -> None:
    counters = await setting.sink.push(setting.target, now(epoch=Epoch(3), revision=Revision(14)))
    assert (counters.pod, counters.leased, counters.epoch, counters.revision) == (POD, True, 3, 14)


async def test_an_older_revision_is_refused_and_changes_nothing(setting: Setting) -> None:
    await setting.sink.push(setting.target, now(epoch=Epoch(3), revision=Revision(14)))
    with pytest.raises(InvalidInput, match="revision"):
        await setting.sink.push(setting.target, now(epoch=Epoch(3), revision=Revision(13)))
    with pytest.raises(InvalidInput):
        await setting.sink.push(setting.target, now(epoch=Epoch(2), revision=Revision(99)))
    counters = await setting.sink.read(setting.target, -1)
    assert (counters.epoch, counters.revision) == (3, 14)


async def test_a_later_epoch_wins_over_any_revision(setting: Setting) -> None:
    await setting.sink.push(setting.target, now(epoch=Epoch(3), revision=Revision(14)))
    counters = await setting.sink.push(setting.target, now(epoch=Epoch(4), revision=Revision(1)))
    assert (counters.epoch, counters.revision) == (4, 1)


async def test_released_ends_the_lease(setting: Setting) -> None:
    await setting.sink.push(setting.target, now(revision=Revision(1)))
    counters = await setting.sink.push(setting.target, now(revision=Revision(2), kind=GrantKind.RELEASED, tiers=()))
    assert not counters.leased


async def test_a_read_with_a_negative_sequence_is_answered_at_once(setting: Setting) -> None:
    async with soon(SHORT_OF_A_POLL):
        assert (await setting.sink.read(setting.target, -1)).pod == POD


async def test_a_read_without_news_is_held_and_then_answered(brief: Setting) -> None:
    before = await brief.sink.read(brief.target, -1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    after = await brief.sink.read(brief.target, before.sequence)
    assert loop.time() - began >= QUICK.hold * 0.9
    assert after.instance == before.instance


async def test_a_push_is_news_to_who_reads(setting: Setting) -> None:
    before = await setting.sink.read(setting.target, -1)
    reading = asyncio.create_task(setting.sink.read(setting.target, before.sequence))
    await asyncio.sleep(0.05)
    await setting.sink.push(setting.target, now())
    async with soon(SHORT_OF_A_POLL):
        assert (await reading).sequence > before.sequence


async def test_nobody_there_is_unavailable(setting: Setting) -> None:
    with pytest.raises(Unavailable, match=setting.nobody.name):
        await setting.sink.push(setting.nobody, replace(now(), pod=setting.nobody.pod))
    with pytest.raises(Unavailable, match=setting.nobody.name):
        await setting.sink.read(setting.nobody, -1)
