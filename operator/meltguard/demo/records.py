"""The files that a run leaves behind, line by line: what users saw, and what was told to the load generator."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from meltguard.errors import InvalidInput


class Turned(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request that one pod turned away."""

    at: float  # seconds since the epoch
    reason: str
    passed_on: bool = False  # the gateway asked another pod at once: the user did not hear of it


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One request as its user saw it end. Times in seconds."""

    key: str
    user: str
    tier: str
    images: int
    scheduled: float  # since the lead-in began
    lag: float  # from when it was due until its first byte was sent
    tries: int  # 1 for most; more where the gateway or the user tried again
    status: int  # HTTP; 0: no server answered
    reason: str = ""  # of a refusal
    pod: str = ""
    took: float = 0.0  # from when it was due to its end
    turned: tuple[Turned, ...] = ()  # by each pod that turned it away, in order


class Started(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The first line of the users' file: what is to come."""

    at: float  # when the lead-in began: seconds since the epoch
    planned: int
    peak_rate: float  # requests a second
    source: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A serving pod that a gateway may send to."""

    name: str
    url: str


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The file that tells the gateway where to send; replaced as a whole."""

    pods: tuple[Endpoint, ...]


class UsersSetup(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the load generator is started with."""

    seed: int
    speed: float
    base_gpus: int
    peak: float
    lead_in: float
    length: float
    tail: float
    patience: float  # seconds after which a user leaves
    traces: str | None  # folder of recorded rows; None: the fitted figures
    endpoints: str  # file
    results: str  # file


Line = TypeVar("Line", bound=msgspec.Struct)
ENCODER: Final = msgspec.json.Encoder()


def line(record: msgspec.Struct) -> bytes:
    """A record as one line of JSON."""
    return ENCODER.encode(record) + b"\n"


def read_lines(path: Path, shape: type[Line]) -> Iterator[Line]:
    """The records of a file. A last line that was cut off by a crash is left out.

    Raises:
        InvalidInput: the file is not there, or another line is no such record.
    """
    decoder = msgspec.json.Decoder(shape)
    for number, text in enumerate(complete_lines(path), start=1):
        try:
            yield decoder.decode(text)
        except msgspec.MsgspecError as exc:
            raise InvalidInput(f"{path} line {number} is no {shape.__name__}: {exc}; is the file of this run?") from exc


def complete_lines(path: Path) -> Sequence[bytes]:
    """The lines that end as lines do. Raises InvalidInput where there is no such file."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except OSError as exc:
        raise InvalidInput(f"cannot read {path}: {exc}; the run did not get far enough to write it") from exc


def first_line(path: Path) -> bytes | None:
    """The first line of a file; None while it is not there, or not whole."""
    try:
        with path.open("rb") as file:
            text = file.readline()
    except FileNotFoundError:
        return None
    return text[:-1] if text.endswith(b"\n") else None


def replace(path: Path, record: msgspec.Struct) -> None:
    """Put a whole new file in place of the old one: readers see one or the other."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(ENCODER.encode(record))
    beside.replace(path)
