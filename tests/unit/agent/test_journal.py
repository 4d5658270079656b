import asyncio
import os
from pathlib import Path

import pytest

from meltguard.agent.journal import Journal, JournalEntry
from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput
from support.eventually import eventually

ENTRY = JournalEntry(
    at=Instant(1_800_000_000.25),
    pod="pod-1",
    tier="free",
    user="0123",
    images=2,
    units=2.5,
    verdict="admitted",
    reason="",
    would_refuse="",
    wait=Seconds(0.5),
    took=Seconds(3.25),
    status=200,
    delivered=True,
    source="Lease",
    epoch=1,
    revision=7,
    state="Delay",
    rate=None,
)


def test_a_line_is_read_back_as_written() -> None:
    line = ENTRY.to_json_line()
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert JournalEntry.parse(line) == ENTRY


@pytest.mark.parametrize("line", ["", "{", "[]", '{"at": 1}', ENTRY.to_json_line()[:-20]])
def test_half_a_line_is_no_entry(line: str) -> None:
    with pytest.raises(InvalidInput, match="not a journal line"):
        JournalEntry.parse(line)


async def test_a_write_under_way_is_waited_for_when_the_agent_stops(tmp_path: Path) -> None:
    """A pipe that nobody reads yet holds the write up: stopped in the middle of it, no entry may get lost."""
    path = tmp_path / "journal.jsonl"
    os.mkfifo(path)
    journal = Journal(path)
    writing = asyncio.create_task(journal.run())
    journal.note(ENTRY)
    await eventually(lambda: not journal._entries)  # the write has taken it over
    writing.cancel()
    done, _ = await asyncio.wait({writing}, timeout=0.2)
    text = await asyncio.to_thread(path.read_text)
    assert not done, "it ended, and its write did not"
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert JournalEntry.parse(text) == ENTRY
