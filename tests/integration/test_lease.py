import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from meltguard.adapters.kubernetes_lease import LeaseLost
from meltguard.core.units import Epoch, Seconds
from support import lease_holder
from support.eventually import eventually, soon
from support.fake_apiserver import hang
from support.lease_ground import Ground, ground
from support.lease_holder import BRISK, MARK, NAME, STEADY

LASTING = replace(STEADY, duration=Seconds(60.0))
"""Who waits for its end instead of acting at once is not through in time."""

MOST_REQUESTS = 12
"""Of a holder that gives up when its deadline passes: to take it, to renew it for a while, two stammered tries."""


async def within(seconds: float, waiting: Awaitable[Any]) -> Any:
    async with soon(seconds):
        return await waiting


async def test_a_lease_that_is_not_there_is_made_and_its_first_epoch_is_one(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        lease = on.candidate()
        assert await within(2.0, lease.acquire()) == 1
        assert on.spec()["holderIdentity"].startswith(lease.identity)
        assert on.spec()["leaseDurationSeconds"] == 1
        lease.ensure_held()


async def test_a_lease_made_empty_by_the_chart_is_taken_and_its_labels_stay(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        on.server.put(NAME.path, {"metadata": {"labels": {"app": "meltguard"}}})
        assert await within(2.0, on.candidate().acquire()) == 1
        lease = on.server.objects["/apis/coordination.k8s.io/v1", "leases", "meltguard", "meltguard"]
        assert lease["metadata"]["labels"] == {"app": "meltguard"}


async def test_of_many_candidates_one_holds_and_each_hand_over_counts(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        held: list[int] = []
        now = 0

        async def take_turns() -> None:
            nonlocal now
            lease = on.candidate(timing=LASTING)
            epoch = await lease.acquire()
            now += 1
            assert now == 1, "two hold the Lease at once"
            held.append(epoch)
            await asyncio.sleep(0.05)
            now -= 1
            await lease.release()

        await within(15.0, asyncio.gather(*(take_turns() for _ in range(6))))
        assert held == [1, 2, 3, 4, 5, 6]


async def test_who_releases_lets_the_next_in_at_once(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        first, second = on.candidate(timing=LASTING), on.candidate(timing=LASTING)
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(0.3)
        await first.release()
        assert on.spec()["holderIdentity"] == ""
        with pytest.raises(LeaseLost):
            first.ensure_held()
        assert await within(8.0, waiting) == 2


async def test_a_holder_that_died_is_followed_after_its_lease(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        await on.candidate().acquire()  # and never renews
        began = time.monotonic()
        assert await within(5.0, on.candidate().acquire()) == 2
        assert time.monotonic() - began >= BRISK.duration


async def test_who_starts_anew_in_its_pod_waits_for_nobody_and_another_pod_does(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        on.write(holderIdentity="pod-1_0123456789ab-1", leaseDurationSeconds=60, leaseTransitions=3)
        other = asyncio.create_task(on.candidate("pod-11").acquire())
        nameless = asyncio.create_task(on.candidate().acquire())
        await asyncio.sleep(BRISK.retry_every * 3)
        assert not other.done()
        assert not nameless.done()
        for task in (other, nameless):
            task.cancel()
        assert await within(1.0, on.candidate("pod-1").acquire()) == 4, (
            "a term of its own, fenced against the one before"
        )


@pytest.mark.parametrize("renewed", ["1970-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z", "garbage"])
async def test_a_remote_clock_says_nothing(tmp_path: Path, renewed: str) -> None:
    async with ground(tmp_path) as on:
        on.write(holderIdentity="other", renewTime=renewed, leaseDurationSeconds=3, leaseTransitions=7)
        waiting = asyncio.create_task(on.candidate().acquire())
        await asyncio.sleep(0.7)  # it has seen it, and waits
        assert not waiting.done()
        began = time.monotonic()
        on.write(holderIdentity="other", renewTime=renewed + " ", leaseDurationSeconds=3, leaseTransitions=7)
        assert await within(6.0, waiting) == 8
        assert time.monotonic() - began >= 3.0, "a renewal in between starts the wait anew"


async def test_the_epoch_is_above_what_nodes_remember(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        assert await within(2.0, on.candidate().acquire(above=Epoch(41))) == 42


async def test_a_holder_keeps_it_while_the_server_answers(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        lease = on.candidate(timing=STEADY)
        await lease.acquire()
        keeping = asyncio.create_task(lease.keep())
        rival = asyncio.create_task(on.candidate().acquire())
        await asyncio.sleep(STEADY.duration * 1.5)
        assert not keeping.done()
        assert not rival.done()
        lease.ensure_held()
        for task in (keeping, rival):
            task.cancel()


async def lost(on: Ground, disturb: Callable[[], object]) -> tuple[str, float]:
    """Why a holder loses the Lease after a disturbance, and how long it takes to notice."""
    lease = on.candidate(timing=LASTING)
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep())
    await asyncio.sleep(0.3)
    disturb()
    began = time.monotonic()
    why = str(await within(8.0, keeping))
    with pytest.raises(LeaseLost):
        lease.ensure_held()
    return why, time.monotonic() - began


async def test_a_hanging_server_costs_the_lease_in_time(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        why, took = await lost(on, lambda: on.server.faults.append(hang))
        assert "no renewal for" in why
        assert took < LASTING.duration


async def test_an_unavailable_server_costs_the_lease_in_time(tmp_path: Path) -> None:
    async def away(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503, text="etcd has no leader")

    async with ground(tmp_path) as on:
        why, took = await lost(on, lambda: on.server.faults.append(away))
        assert "etcd has no leader" in why
        assert took < LASTING.duration


async def test_a_server_that_stammers_costs_no_more_than_one_that_hangs(tmp_path: Path) -> None:
    async def stammer(request: web.Request) -> web.StreamResponse | None:
        await asyncio.sleep(LASTING.deadline * 0.45)
        return web.Response(status=409, text="try again") if request.method == "PUT" else None

    async with ground(tmp_path) as on:
        tries = len(on.server.requests)
        why, took = await lost(on, lambda: on.server.faults.append(stammer))
        assert "no renewal for" in why
        assert took < LASTING.duration
        assert len(on.server.requests) - tries <= MOST_REQUESTS, "each answer put the end off"


async def test_who_took_over_is_named(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        why, _ = await lost(on, lambda: on.write(holderIdentity="thief", leaseTransitions=9))
        assert "taken over by thief, epoch 9" in why


async def test_after_a_long_outage_the_same_process_is_back_at_once_with_a_new_epoch(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        lease = on.candidate(timing=LASTING)
        assert await lease.acquire() == 1
        on.server.faults.append(hang)
        await within(8.0, lease.keep())
        on.server.faults.clear()
        assert await within(8.0, lease.acquire()) == 2
        lease.ensure_held()


@pytest.mark.parametrize("writes", [1, 2])
async def test_a_write_whose_answer_is_lost_counts_once(tmp_path: Path, writes: int) -> None:
    async with ground(tmp_path) as on:
        on.server.lose_replies = writes
        assert await within(5.0, on.candidate(timing=LASTING).acquire()) == 1


async def test_a_renewal_whose_answer_is_lost_is_no_loss(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        lease = on.candidate(timing=STEADY)
        await lease.acquire()
        keeping = asyncio.create_task(lease.keep())
        on.server.lose_replies = 1
        await asyncio.sleep(STEADY.duration)
        assert not keeping.done()
        assert on.spec()["leaseTransitions"] == 1
        keeping.cancel()


async def test_someone_who_labels_the_lease_is_no_rival(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        lease = on.candidate(timing=STEADY)
        await lease.acquire()
        keeping = asyncio.create_task(lease.keep())
        on.server.put(NAME.path, {"metadata": {"labels": {"a": "b"}}, "spec": on.spec()})
        await asyncio.sleep(STEADY.duration)
        assert not keeping.done()
        keeping.cancel()


async def test_a_lease_that_someone_deletes_comes_back_with_the_same_epoch(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        on.write(leaseTransitions=4)
        lease = on.candidate(timing=STEADY)
        assert await lease.acquire() == 5
        keeping = asyncio.create_task(lease.keep())
        on.server.remove(NAME.path)
        await eventually(lambda: NAME.path.rpartition("/")[2] in {key[3] for key in on.server.objects})
        assert on.spec()["leaseTransitions"] == 5
        assert not keeping.done()
        keeping.cancel()


async def test_without_acquiring_nothing_is_held(tmp_path: Path) -> None:
    async with ground(tmp_path) as on:
        lease = on.candidate()
        with pytest.raises(LeaseLost):
            lease.ensure_held()
        with pytest.raises(LeaseLost):
            await lease.keep()
        await lease.release()
        assert on.server.requests == []


async def test_a_release_that_cannot_be_told_is_left_to_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with ground(tmp_path) as on:
        lease = on.candidate(timing=LASTING)
        await lease.acquire()
        on.write(holderIdentity="other", leaseTransitions=2)
        await lease.release()
        assert on.spec()["holderIdentity"] == "other"
        assert "it ends by itself" in caplog.text


@asynccontextmanager
async def a_holder(kubeconfig: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, lease_holder.__file__, str(kubeconfig), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_frozen_holder_that_thaws_writes_nothing_more(tmp_path: Path) -> None:
    async with ground(tmp_path) as on, a_holder(on.kubeconfig) as process:
        assert process.stdout is not None
        on.server.put(MARK, {})
        assert await within(20.0, process.stdout.readline()) == b"held 1\n"
        patched = f"PATCH {MARK}"
        await eventually(lambda: on.server.requests.count(patched) > 3)
        os.kill(process.pid, signal.SIGSTOP)
        assert await within(8.0, on.candidate().acquire()) == 2
        before = list(on.server.requests)
        os.kill(process.pid, signal.SIGCONT)
        told = {await within(5.0, process.stdout.readline()), await within(5.0, process.stdout.readline())}
        assert b"forbidden\n" in told
        assert any(line.startswith(b"lost no renewal") for line in told)
        written = [request for request in on.server.requests[len(before) :] if not request.startswith("GET")]
        assert written == []
