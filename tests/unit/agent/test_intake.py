import asyncio
from typing import Any

import pytest

from meltguard.agent.intake import READ_AHEAD, Intake
from meltguard.core.units import Seconds

SOON = Seconds(0.2)


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
    await intake.fill(100, SOON)
    assert intake.body(100) == b"one two"
    assert await whole(intake) == b"one two"


async def test_a_long_body_is_read_in_part_and_comes_whole() -> None:
    intake = Intake(Client(b"x" * 60, b"y" * 60, [b"z" * 60]).receive)
    await intake.fill(100, SOON)
    assert intake.body(100) is None
    assert await whole(intake) == b"x" * 60 + b"y" * 60 + b"z" * 60


async def test_a_slow_body_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        await Intake(Client(b"one").receive).fill(100, Seconds(0.02))


async def test_a_client_that_leaves_in_the_middle_is_noticed() -> None:
    with pytest.raises(ConnectionError):
        await Intake(Client(b"one", None).receive).fill(100, SOON)


async def test_leaving_is_told_while_the_app_reads_nothing() -> None:
    client = Client([b"one"])
    intake, left = Intake(client.receive), asyncio.Event()
    await intake.fill(100, SOON)
    intake.watch(left.set)
    client.send(None)
    async with asyncio.timeout(1):
        await left.wait()
    assert await whole(intake) == b"one"
    assert (await intake.receive())["type"] == "http.disconnect"
    intake.close()


async def test_leaving_is_told_late_rather_than_never() -> None:
    client, left = Client([b"one"], None), asyncio.Event()
    intake = Intake(client.receive)
    await intake.fill(100, SOON)
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
    async with asyncio.timeout(1):
        assert len(await whole(intake)) == 50 * len(piece) + 3
    intake.close()


async def test_a_long_body_that_stops_coming_is_as_good_as_gone() -> None:
    intake = Intake(Client(b"x" * 60, b"y" * 60).receive)
    await intake.fill(100, Seconds(0.05))
    async with asyncio.timeout(5.0):
        told = [(await intake.receive())["type"] for _ in range(3)]
    assert told == ["http.request", "http.request", "http.disconnect"]
    assert (intake.late, intake.gone) == (True, True)


async def test_who_waits_beside_it_is_told_too() -> None:
    intake, left = Intake(Client(b"x" * 60, b"y" * 60).receive), asyncio.Event()
    await intake.fill(100, Seconds(0.05))
    intake.watch(left.set)
    async with asyncio.timeout(5.0):
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
