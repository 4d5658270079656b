import pytest

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput

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
