from pathlib import Path

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Instant, Seconds
from meltguard.demo.tail import JournalTail
from support.demo_evidence import an_entry, refused


def add(path: Path, *entries: JournalEntry, cut: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(entry.to_json_line() for entry in entries)
    with path.open("a", encoding="utf-8") as file:
        file.write(text[: len(text) - cut])


def test_what_was_decided_lately_is_told_by_tier(tmp_path: Path) -> None:
    add(tmp_path / "gpu-01" / "a.jsonl", an_entry(100.0, wait=Seconds(1.0)), refused(101.0, "over-rate"))
    add(
        tmp_path / "gpu-02" / "b.jsonl",
        an_entry(101.0, tier="plus"),
        refused(102.0, "over-rate"),
        refused(102.0, "queue-full"),
    )
    tail = JournalTail(tmp_path)
    tail.look()

    free, plus = tail.tiers(Instant(105.0))

    assert (free.admitted, free.refused, free.reason, free.wait_p99) == (0.1, 0.3, "over-rate", 1.0)
    assert (plus.tier, plus.admitted, plus.refused, plus.reason) == ("plus", 0.1, 0.0, "")


def test_old_entries_count_no_more(tmp_path: Path) -> None:
    add(tmp_path / "n" / "a.jsonl", an_entry(100.0))
    tail = JournalTail(tmp_path)
    tail.look()

    assert [tier.admitted for tier in tail.tiers(Instant(200.0))] == [0.0]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "n" / "a.jsonl"
    entry = an_entry(100.0)
    add(path, entry, cut=10)
    tail = JournalTail(tmp_path)
    tail.look()
    assert tail.tiers(Instant(101.0)) == ()

    with path.open("a", encoding="utf-8") as file:
        file.write(entry.to_json_line()[-10:])
    tail.look()
    tail.look()

    assert [tier.admitted for tier in tail.tiers(Instant(103.0))] == [0.1]
