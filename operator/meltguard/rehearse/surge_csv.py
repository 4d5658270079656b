"""A surge from a CSV file: a column of times, and one of rates or one for each tier."""

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import IO, Final

from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput
from meltguard.rehearse.surge import Recorded

TIMES: Final = ("time", "timestamp", "minute", "at", "date", "datetime")
RATES: Final = ("rate", "requests", "value", "count")
EPOCH: Final = 1e8
"""Numbers from here on are seconds since 1970; smaller ones since the start."""

MOST_ROWS: Final = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns are meant, and over what time their numbers count."""

    time: str = ""  # "" is the first of TIMES that is there
    rate: str = ""  # "" is the first of RATES that is there, else every other column is a tier's
    per: Seconds = Seconds(1.0)  # a rate of 60 with per=60 is one request a second


@dataclass(frozen=True, slots=True)
class Table:
    """A file's header and rows, as text."""

    path: Path
    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def read_csv(path: Path, columns: Columns) -> Recorded:
    """A surge as the file has it; `.gz` is unpacked.

    Raises:
        InvalidInput: it cannot be read; the text names file, line, column and value.
    """
    if columns.per <= 0:
        raise InvalidInput("--per: rates count over more than 0 s; write 1s or 1m")
    table = _table(path)
    time, rates = _chosen(table, columns)
    moments = [_moment(table, line, row[time]) for line, row in enumerate(table.rows, 2)]
    for line, (sooner, later) in enumerate(pairwise(moments), 3):
        if later <= sooner:
            text = table.rows[line - 2][time]
            raise InvalidInput(f"{path}, line {line}: time {text} is not after the one before; sort the rows by time")
    start = moments[0]
    return Recorded(
        source=f"{path.name} ({len(moments)} rows)",
        times=tuple(Seconds(at - start) for at in moments),
        rates={
            name: tuple(_rate(table, line, (row, place), columns.per) for line, row in enumerate(table.rows, 2))
            for name, place in rates.items()
        },
        until=Seconds(moments[-1] - start + (moments[-1] - moments[-2])),
        dawn=Instant(start) if start >= EPOCH else None,
    )


def _table(path: Path) -> Table:
    try:
        with _opened(path) as lines:
            header, *rows = [row for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except FileNotFoundError as exc:
        raise InvalidInput(f"{path}: there is no such file; --surge takes a CSV file or a shape by name") from exc
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as exc:
        raise InvalidInput(f"{path}: cannot be read as CSV ({exc})") from exc
    except ValueError as exc:
        raise InvalidInput(f"{path}: is empty; its first line names the columns, such as time,rate") from exc
    if len(rows) < 2:  # noqa: PLR2004 - a rate needs a next time
        raise InvalidInput(f"{path}: has {len(rows)} rows; at least two are needed")
    if len(rows) > MOST_ROWS:
        raise InvalidInput(f"{path}: has {len(rows)} rows, at most {MOST_ROWS} are read; thin it out")
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise InvalidInput(f"{path}, line {line}: has {len(row)} cells where the header has {len(header)}")
    return Table(path, tuple(name.strip() for name in header), rows)


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _chosen(table: Table, columns: Columns) -> tuple[int, Mapping[str, int]]:
    """Where the times are, and where the rates of each tier; "" is all tiers together."""
    header = table.header
    time = _place(table, columns.time, TIMES, "--time-column")
    if columns.rate:
        return time, {"": _place(table, columns.rate, (), "--rate-column")}
    others = [name for name in header if name != header[time]]
    single = next((name for name in RATES if name in others), others[0] if len(others) == 1 else None)
    if single is not None:
        return time, {"": header.index(single)}
    if not others:
        raise InvalidInput(f"{table.path}: has no column of rates beside {header[time]}")
    return time, {name: header.index(name) for name in others}


def _place(table: Table, wanted: str, usual: Sequence[str], flag: str) -> int:
    found = [name for name in ((wanted,) if wanted else usual) if name in table.header]
    if not found:
        asked = f"column {wanted!r}" if wanted else f"column of times ({', '.join(usual)})"
        raise InvalidInput(f"{table.path}: has no {asked}; it has {', '.join(table.header)}; name one with {flag}")
    return table.header.index(found[0])


def _moment(table: Table, line: int, text: str) -> float:
    """Seconds, since the start or since 1970."""
    try:
        number = float(text)
    except ValueError:
        number = _date(table, line, text)
    if not math.isfinite(number):
        raise InvalidInput(f"{table.path}, line {line}: time {text!r} is no time")
    return number


def _date(table: Table, line: int, text: str) -> float:
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError as exc:
        wanted = "seconds, or a date such as 2026-03-02T09:00:00Z"
        raise InvalidInput(f"{table.path}, line {line}: time {text!r} is neither; write {wanted}") from exc
    return (read if read.tzinfo is not None else read.replace(tzinfo=UTC)).timestamp()


def _rate(table: Table, line: int, cell: tuple[Sequence[str], int], per: Seconds) -> float:
    row, place = cell
    try:
        number = float(row[place])
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        column = table.header[place]
        raise InvalidInput(f"{table.path}, line {line}: {column} {row[place]!r} is no rate; write a number, 0 or more")
    return number / per
