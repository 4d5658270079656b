"""The recorded rows of ../shared/traces, where that folder lies beside the checkout."""

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from meltguard.core.units import Share
from meltguard.errors import InvalidInput
from meltguard.sim.fitted import from_figures, shipped
from meltguard.sim.recording import BATCH_CLASSES, Recording, batch_class
from meltguard.sim.spread import Envelope, Rows

REQUESTS: Final = "image-requests-gentd26.csv.gz"
MODEL_LOADS: Final = "model-load-gentd26.csv.gz"
FLASH_CROWD: Final = "flash-crowd-worldcup98.csv.gz"
VIRAL: Final = "viral-mentions-nab-ko.csv.gz"

BEFORE_PEAK, AFTER_PEAK = 125, 110
"""Minutes around the recorded flash crowd's peak: from the last quiet one to a level that a smaller pool can bear."""

VIRAL_SPAN: Final = 12
"""Five-minute counts before and after the recorded spike."""

FOLDERS_UP: Final = 4
"""From this file to the folder that holds the checkout: operator/meltguard/sim/ lie in it."""

REQUEST_COLUMNS: Final = ("gmt_create", "groupId", "predict_status", "exec_time_seconds", "num_images_per_prompt")


class Request(NamedTuple):
    """One line of the image requests, as text; the fields are REQUEST_COLUMNS."""

    came: str
    user: str
    outcome: str
    seconds: str
    images: str

    @property
    def size(self) -> int:
        """Images that were asked for; 1 where the trace does not say."""
        return int(float(self.images or 1))


def traces_beside_checkout() -> Path | None:
    """The folder with the traces; None where this package is not in a checkout that has one beside it."""
    parents = Path(__file__).resolve().parents
    folder = parents[4] / "shared" / "traces" if len(parents) > 4 else None  # noqa: PLR2004 - operator/meltguard/sim/
    return (
        folder if folder and all((folder / name).is_file() for name in (REQUESTS, MODEL_LOADS, FLASH_CROWD)) else None
    )


def recording(traces: Path | None) -> Recording:
    """Rows where there are any, else the figures that ship with the package.

    Raises:
        InvalidInput: the traces are there and cannot be read; the text names the file.
    """
    return from_figures(shipped()) if traces is None else from_rows(traces)


def from_rows(traces: Path) -> Recording:
    """A recording that draws rows, with replacement. Raises as `recording`."""
    rows = [Request(*row) for row in read_columns(traces / REQUESTS, REQUEST_COLUMNS)]
    done = [row for row in rows if row.outcome == "SUCCEED"]
    failed = [row for row in rows if row.outcome == "FAILED"]
    users = requests_by_user(rows)
    return Recording(
        source=f"rows of {traces.resolve()} ({len(rows)} image requests of {len(users)} users), drawn with replacement",
        service={size: Rows(_seconds(row for row in done if batch_class(row.size) == size)) for size in BATCH_CLASSES},
        failed=Rows(_seconds(failed)),
        failure_share=Share(len(failed) / (len(done) + len(failed))),
        users=users,
        requests_a_user=Rows(tuple(sorted(float(len(requests)) for requests in users))),
        images=images_shares(users),
        model_load=Rows(tuple(ms / 1000.0 for ms in sorted(read_numbers(traces / MODEL_LOADS, "milliseconds")))),
        envelope=flash_crowd(read_numbers(traces / FLASH_CROWD, "requests")),
    )


def read_columns(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Some columns of a trace, line by line. Raises InvalidInput where the file is no such trace."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines)
            header = next(rows)
            places = [header.index(column) for column in columns]
            return [tuple(row[place] for place in places) for row in rows]
    except (OSError, EOFError, ValueError, IndexError, StopIteration, csv.Error) as exc:
        raise InvalidInput(
            f"cannot read {', '.join(columns)} from the trace {path}: {exc}; restore it, or move the folder away"
        ) from exc


def requests_by_user(rows: Sequence[Request]) -> tuple[tuple[int, ...], ...]:
    """Every user's requests in the order of their coming, as images a request."""
    by_user: defaultdict[str, list[int]] = defaultdict(list)
    for row in sorted(rows, key=_came):
        by_user[row.user].append(row.size)
    return tuple(tuple(requests) for requests in by_user.values())


def images_shares(users: Sequence[Sequence[int]]) -> dict[int, Share]:
    """How often a request asks for how many images."""
    counted = Counter(size for requests in users for size in requests)
    return {size: Share(count / counted.total()) for size, count in sorted(counted.items())}


def flash_crowd(counts: Sequence[float]) -> Envelope:
    """The minutes around the highest peak, as shares of the peak and of their length."""
    peak = max(range(len(counts)), key=counts.__getitem__)
    around = counts[peak - BEFORE_PEAK : peak + AFTER_PEAK + 1]
    length = len(around) - 1
    return Envelope(tuple(i / length for i in range(length + 1)), tuple(count / counts[peak] for count in around))


def viral(counts: Sequence[float]) -> Envelope:
    """An hour before and after the highest of the five-minute counts, as shares of it and of their length."""
    peak = max(range(len(counts)), key=counts.__getitem__)
    around = counts[peak - VIRAL_SPAN : peak + VIRAL_SPAN + 1]
    length = len(around) - 1
    return Envelope(tuple(i / length for i in range(length + 1)), tuple(count / counts[peak] for count in around))


def read_numbers(path: Path, column: str) -> list[float]:
    """One column of a trace. Raises as `read_columns`."""
    return [float(text) for (text,) in read_columns(path, (column,))]


def _came(row: Request) -> str:
    return row.came


def _seconds(rows: Iterable[Request]) -> tuple[float, ...]:
    return tuple(sorted(float(row.seconds) for row in rows if row.seconds))
