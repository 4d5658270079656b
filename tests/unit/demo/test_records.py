from pathlib import Path

import pytest

from meltguard.demo.records import Result, line, read_lines
from meltguard.errors import InvalidInput

RESULT = Result(key="1-0", user="free-1", tier="free", images=2, scheduled=1.5, lag=0.001, tries=1, status=200)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line(RESULT) + line(RESULT))

    assert list(read_lines(path, Result)) == [RESULT, RESULT]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line(RESULT) + line(RESULT)[:20])

    assert list(read_lines(path, Result)) == [RESULT]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line(RESULT) + b'{"key": 1}\n')

    with pytest.raises(InvalidInput, match=r"line 2"):
        list(read_lines(path, Result))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"results\.jsonl"):
        list(read_lines(tmp_path / "results.jsonl", Result))
