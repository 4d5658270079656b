from pathlib import Path

from meltguard.agent.documents import Mark, Remembered
from meltguard.agent.statefile import DayText, StateFile
from meltguard.core.units import Instant

REMEMBERED = Remembered(
    lease=Mark(policy_uid="p", epoch=3, revision=9, issued_at=Instant(17.5)),
    baseline=Mark(policy_uid="p", epoch=3, revision=1, issued_at=Instant(5.0)),
    baseline_from=Instant(4.0),
)


def test_what_is_remembered_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first = StateFile(path)
    first.remember(REMEMBERED)
    first.remember_day("free", DayText(id="d1", end=99.0))
    again = StateFile(path)
    assert again.remembered == REMEMBERED
    assert again.days == {"free": DayText(id="d1", end=99.0)}
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_a_first_start_remembers_nothing(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "state.json").remembered == Remembered()
    assert StateFile(None).remembered == Remembered()


def test_a_broken_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text('{"lease": {"epoch"')
    assert StateFile(path).remembered == Remembered()
    assert (tmp_path / "state.json.broken").exists()


def test_a_full_disk_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "no-such-folder" / "state.json")
    state.remember(REMEMBERED)
    assert state.failures == 1
    assert state.remembered == REMEMBERED
