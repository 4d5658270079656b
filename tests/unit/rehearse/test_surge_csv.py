import gzip
from pathlib import Path

import pytest

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput
from meltguard.rehearse.surge_csv import Columns, read_csv

USUAL = Columns()


def csv_file(folder: Path, text: str, name: str = "surge.csv") -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_seconds_and_rates(tmp_path: Path) -> None:
    found = read_csv(csv_file(tmp_path, "time,rate\n0,1.5\n60,3\n180,2\n"), USUAL)
    assert found.times == (0.0, 60.0, 180.0)
    assert found.rates == {"": (1.5, 3.0, 2.0)}
    assert found.until == 300.0  # the last rate holds as long as the one before
    assert found.dawn is None


def test_a_packed_file_with_dates_and_counts_a_minute(tmp_path: Path) -> None:
    text = "minute,requests\n2026-03-02T09:00:00,60\n2026-03-02T09:01:00Z,120\n"
    found = read_csv(csv_file(tmp_path, text, "surge.csv.gz"), Columns(per=Seconds(60.0)))
    assert found.rates == {"": (1.0, 2.0)}
    assert found.dawn == 1_772_442_000.0


def test_seconds_since_1970_tell_the_time_of_day(tmp_path: Path) -> None:
    found = read_csv(csv_file(tmp_path, "timestamp,value\n1772442000,1\n1772442060,2\n"), USUAL)
    assert (found.times, found.dawn) == ((0.0, 60.0), 1_772_442_000.0)


def test_a_column_for_each_tier(tmp_path: Path) -> None:
    found = read_csv(csv_file(tmp_path, "free,time,pro\n9,0,1\n18,60,2\n"), USUAL)
    assert found.rates == {"free": (9.0, 18.0), "pro": (1.0, 2.0)}


def test_named_columns(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "when,a,b\n0,1,5\n60,2,6\n")
    assert read_csv(path, Columns(time="when", rate="b")).rates == {"": (5.0, 6.0)}


CASES = {
    "no time": ("when,rate\n0,1\n1,2\n", "has no column of times .*it has when, rate; name one with --time-column"),
    "no rate": ("time\n0\n1\n", "has no column of rates beside time"),
    "one row": ("time,rate\n0,1\n", "has 1 rows; at least two"),
    "empty": ("", "is empty; its first line names the columns"),
    "a rate that is none": ("time,rate\n0,1\n1,lots\n", "line 3: rate 'lots' is no rate"),
    "a negative rate": ("time,rate\n0,1\n1,-2\n", "line 3: rate '-2' is no rate"),
    "a rate without end": ("time,rate\n0,1\n1,inf\n", "line 3: rate 'inf' is no rate"),
    "a time that is none": ("time,rate\nnoon,1\n1,2\n", "line 2: time 'noon' is neither; write seconds, or a date"),
    "no time at all": ("time,rate\nnan,1\n1,2\n", "line 2: time 'nan' is no time"),
    "backwards": ("time,rate\n5,1\n4,2\n", "line 3: time 4 is not after the one before; sort"),
    "a torn row": ("time,rate\n0,1\n1\n", "line 3: has 1 cells where the header has 2"),
}


@pytest.mark.parametrize(("text", "said"), CASES.values(), ids=CASES)
def test_a_wrong_file_is_refused_by_line_column_and_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_csv(csv_file(tmp_path, text), USUAL)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone.csv: there is no such file"):
        read_csv(tmp_path / "gone.csv", USUAL)
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(b"no gzip")
    with pytest.raises(InvalidInput, match=r"torn.csv.gz: cannot be read as CSV"):
        read_csv(torn, USUAL)
    with pytest.raises(InvalidInput, match="has no column 'c'; it has time, rate; name one with --rate-column"):
        read_csv(csv_file(tmp_path, "time,rate\n0,1\n1,2\n"), Columns(rate="c"))
    with pytest.raises(InvalidInput, match="--per: rates count over more than 0 s"):
        read_csv(csv_file(tmp_path, "time,rate\n0,1\n1,2\n"), Columns(per=Seconds(0.0)))
