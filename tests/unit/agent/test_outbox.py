"""An answer on its way: behind the app's back, and without a task where the app is done."""

import asyncio
from collections import Counter
from typing import Any

from meltguard.agent.asgi import Message
from meltguard.agent.clients import HeldBytes
from meltguard.agent.outbox import MOST_BYTES, Outbox
from meltguard.core.units import Seconds
from support.eventually import soon

LATE = Seconds(60.0)
"""To send what is on its way: a client that reads is not given up, however slow the machine is."""


class Client:
    """Takes messages when it likes."""

    def __init__(self) -> None:
        self.took: list[Message] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.left = False

    async def send(self, message: Message) -> None:
        """The server's `send`."""
        await self.reads.wait()
        if self.left:
            raise OSError("gone")
        self.took.append(message)


def body(text: bytes, **more: Any) -> Message:
    return {"type": "http.response.body", "body": text, **more}


async def test_an_app_that_is_done_needs_no_task() -> None:
    client, before = Client(), len(asyncio.all_tasks())
    outbox = Outbox(client.send)
    outbox.put(body(b"one"))
    outbox.put(body(b"two"))
    assert len(asyncio.all_tasks()) == before
    await outbox.flush(LATE)
    assert [message["body"] for message in client.took] == [b"one", b"two"]


async def test_an_app_that_goes_on_is_sent_for_meanwhile() -> None:
    client = Client()
    outbox = Outbox(client.send)
    outbox.put(body(b"one"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert [message["body"] for message in client.took] == [b"one"]
    outbox.put(body(b"two"))
    await outbox.flush(LATE)
    assert [message["body"] for message in client.took] == [b"one", b"two"]


async def test_what_is_discarded_is_not_sent() -> None:
    client = Client()
    outbox = Outbox(client.send)
    outbox.put(body(b"half"))
    outbox.discard()
    await outbox.flush(LATE)
    assert client.took == []


async def test_a_client_that_never_reads_is_given_up() -> None:
    client = Client()
    client.reads.clear()
    outbox = Outbox(client.send)
    outbox.put(body(b"image"))
    await outbox.flush(Seconds(0.02))
    assert client.took == []


async def test_a_client_that_left_ends_the_sending_and_makes_room() -> None:
    client = Client()
    client.left = True
    outbox = Outbox(client.send)
    outbox.put(body(b"x" * (MOST_BYTES + 1)))
    assert outbox.full
    async with soon():
        await outbox.room()
    assert not outbox.full


async def test_an_app_waits_while_too_much_is_unread() -> None:
    client = Client()
    client.reads.clear()
    outbox = Outbox(client.send)
    outbox.put(body(b"x" * (MOST_BYTES + 1)))
    waiting = asyncio.create_task(outbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    client.reads.set()
    async with soon():
        await waiting
    assert not outbox.full


async def test_where_all_clients_bytes_are_too_many_the_oldest_unread_answer_stays_incomplete() -> None:
    held = HeldBytes(100_000, Counter())
    slow, other = Client(), Client()
    slow.reads.clear()
    other.reads.clear()
    first, second = Outbox(slow.send, held), Outbox(other.send, held)
    first.put(body(b"x" * 60_000, more_body=True))
    await asyncio.sleep(0)
    second.put(body(b"y" * 60_000))
    first.put(body(b"the rest"))
    slow.reads.set()
    other.reads.set()
    await first.flush(LATE)
    await second.flush(LATE)
    assert b"the rest" not in [message["body"] for message in slow.took]
    assert [message["body"][:1] for message in other.took] == [b"y"]
    assert held.kept == 0
