"""Loops outlive their failures, and liveness knows a dead one."""

import asyncio

import pytest

from meltguard.controller.supervisor import Supervisor
from meltguard.controller.telemetry import Telemetry
from meltguard.core.units import Seconds
from meltguard.errors import Fenced, Unavailable
from support.eventually import soon
from support.fakes import FakeClock


async def test_a_loop_outlives_outages_and_bugs_and_ends_at_the_fence() -> None:
    troubles: list[Exception] = [Unavailable("away"), ValueError("a bug"), Fenced("a later epoch")]
    telemetry = Telemetry()

    async def once() -> None:
        await asyncio.sleep(0)
        raise troubles.pop(0)

    supervisor = Supervisor(clock=FakeClock(), telemetry=telemetry)
    with pytest.raises(Fenced):
        await supervisor.run("moves", once, Seconds(0.001))
    assert telemetry.registry.get_sample_value("meltguard_loop_failures_total", {"loop": "moves"}) == 2.0


async def test_a_silent_loop_is_dead_and_a_woken_one_runs_at_once() -> None:
    clock, bell, ran = FakeClock(), asyncio.Event(), asyncio.Event()

    async def once() -> None:
        await asyncio.sleep(0)
        ran.set()

    supervisor = Supervisor(clock=clock, telemetry=Telemetry())
    task = asyncio.create_task(supervisor.run("service a", once, Seconds(3600.0), bell))
    await ran.wait()
    assert supervisor.dead() == ()
    clock.advance(4 * 3600.0)
    assert supervisor.dead() == ("service a",)
    ran.clear()
    bell.set()
    async with soon():
        await ran.wait()
    await asyncio.sleep(0)
    assert supervisor.dead() == ()
    task.cancel()
