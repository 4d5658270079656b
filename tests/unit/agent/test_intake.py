import asyncio
from collections import Counter
from typing import Any

import pytest

from meltguard.agent.clients import HeldBytes, Trouble
from meltguard.agent.intake import READ_AHEAD, Crowded, Intake
from meltguard.core.units import Seconds
from support.eventually import soon

FAR = Seconds(600.0)
"""For who sends: nobody is given up for a machine that stands still."""


class Client:
    """Sends what a test puts in."""

    def __init__(self, *messages: Any) -> None:
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        for message in messages:
            self.send(message)

    def send(self, message: Any) -> None:
        """Send a piece of body (the last one as a list), or None to leave."""
        if message is None:
            self._messages.put_nowait({"type": "http.disconnect"})
        else:
            last = isinstance(message, list)
            body = message[0] if last else message
            self._messages.put_nowait({"type": "http.request", "body": body, "more_body": not last})

    async def receive(self) -> Any:
        """The server's `receive`."""
        return await self._messages.get()


async def whole(intake: Intake) -> bytes:
    body, more = b"", True
    while more:
        message = await intake.receive()
        body, more = body + message["body"], message["more_body"]
    return body


async def test_what_was_read_ahead_reaches_the_app() -> None:
    intake = Intake(Client(b"one ", [b"two"]).receive)
    await intake.fill(100, FAR)
    assert intake.body(100) == b"one two"
    assert await whole(intake) == b"one two"


async def test_a_long_body_is_read_in_part_and_comes_whole() -> None:
    intake = Intake(Client(b"x" * 60, b"y" * 60, [b"z" * 60]).receive)
    await intake.fill(100, FAR)
    assert intake.body(100) is None
    assert await whole(intake) == b"x" * 60 + b"y" * 60 + b"z" * 60


async def test_a_slow_body_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        await Intake(Client(b"one").receive).fill(100, Seconds(0.02))


async def test_a_client_that_leaves_in_the_middle_is_noticed() -> None:
    with pytest.raises(ConnectionError):
        await Intake(Client(b"one", None).receive).fill(100, FAR)


async def test_leaving_is_told_while_the_app_reads_nothing() -> None:
    client = Client([b"one"])
    intake, left = Intake(client.receive), asyncio.Event()
    await intake.fill(100, FAR)
    intake.watch(left.set)
    client.send(None)
    async with soon():
        await left.wait()
    assert await whole(intake) == b"one"
    assert (await intake.receive())["type"] == "http.disconnect"
    intake.close()


async def test_leaving_is_told_late_rather_than_never() -> None:
    client, left = Client([b"one"], None), asyncio.Event()
    intake = Intake(client.receive)
    await intake.fill(100, FAR)
    await whole(intake)
    assert (await intake.receive())["type"] == "http.disconnect"
    intake.watch(left.set)
    assert left.is_set()


async def test_reading_ahead_while_waiting_is_bounded() -> None:
    piece = b"x" * 100_000
    client = Client(*[piece] * 50, [b"end"])
    intake = Intake(client.receive)
    intake.watch(lambda: None)
    for _ in range(100):
        await asyncio.sleep(0)
    assert READ_AHEAD <= intake._kept_bytes < READ_AHEAD + len(piece)
    async with soon():
        assert len(await whole(intake)) == 50 * len(piece) + 3
    intake.close()


async def test_a_long_body_that_stops_coming_is_as_good_as_gone() -> None:
    intake = Intake(Client(b"x" * 60, b"y" * 60).receive)
    await intake.fill(100, Seconds(0.05))
    async with soon():
        told = [(await intake.receive())["type"] for _ in range(3)]
    assert told == ["http.request", "http.request", "http.disconnect"]
    assert (intake.late, intake.gone) == (True, True)


async def test_who_waits_beside_it_is_told_too() -> None:
    intake, left = Intake(Client(b"x" * 60, b"y" * 60).receive), asyncio.Event()
    await intake.fill(100, Seconds(0.05))
    intake.watch(left.set)
    async with soon():
        await left.wait()
    assert intake.late
    intake.close()


async def test_a_body_that_came_whole_may_take_its_image_as_long_as_it_likes() -> None:
    client = Client([b"x"])
    intake = Intake(client.receive)
    await intake.fill(100, Seconds(0.02))
    await intake.receive()
    asyncio.get_running_loop().call_later(0.1, client.send, None)
    assert (await intake.receive())["type"] == "http.disconnect"
    assert not intake.late


def a_room(most: int) -> tuple[HeldBytes, Counter[Trouble]]:
    troubles: Counter[Trouble] = Counter()
    return HeldBytes(most, troubles), troubles


async def test_of_many_stalled_bodies_the_oldest_are_given_up_and_the_last_stay() -> None:
    held, troubles = a_room(400_000)
    stalled = [Intake(Client(b"x" * 60_000).receive, held=held) for _ in range(5)]
    fills = [asyncio.create_task(each.fill(READ_AHEAD, FAR)) for each in stalled]
    outcomes = await asyncio.gather(*fills[:4], return_exceptions=True)
    assert [type(each) for each in outcomes] == [Crowded] * 4
    assert not fills[4].done()
    assert (held.kept, troubles[Trouble.BODIES]) == (60_000, 4)
    fills[4].cancel()
    stalled[4].close()
    assert held.kept == 0


async def test_a_whole_body_for_which_there_is_no_room_is_given_up_itself() -> None:
    held, _ = a_room(50_000)
    intake = Intake(Client([b"x" * 60_000]).receive, held=held)
    assert not intake.fill_at_once()
    with pytest.raises(Crowded):
        await intake.fill(READ_AHEAD, FAR)
    assert held.kept == 0


async def test_what_the_app_has_taken_is_no_longer_counted() -> None:
    held, _ = a_room(400_000)
    intake = Intake(Client([b"x" * 60_000]).receive, held=held)
    assert intake.fill_at_once()
    assert held.kept == 60_000
    assert len(await whole(intake)) == 60_000
    assert held.kept == 0


async def test_a_client_whose_long_body_is_given_up_later_counts_as_gone() -> None:
    held, left = a_room(400_000)[0], asyncio.Event()
    intake = Intake(Client(b"x" * 60_000, b"y").receive, held=held)
    await intake.fill(50_000, FAR)
    intake.watch(left.set)
    other = Intake(Client(b"z" * 60_000).receive, held=held)
    filled = asyncio.create_task(other.fill(READ_AHEAD, FAR))
    async with soon():
        await left.wait()
    assert (await intake.receive())["type"] == "http.disconnect"
    filled.cancel()
    intake.close()


async def test_a_reader_that_is_cancelled_for_another_cause_stays_cancelled() -> None:
    intake = Intake(Client(b"x").receive, held=a_room(400_000)[0])
    filled = asyncio.create_task(intake.fill(READ_AHEAD, FAR))
    await asyncio.sleep(0)
    filled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await filled
