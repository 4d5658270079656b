"""The API server's audit log, read as evidence: who wrote what, when, and what the object was afterwards."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from meltguard.clock import parse_rfc3339
from meltguard.core.units import Instant
from meltguard.demo.records import complete_lines
from meltguard.errors import InvalidInput

WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
OVER: Final = "ResponseComplete"
ABSENT: Final = msgspec.Raw(b"null")


class Ref(msgspec.Struct, frozen=True):
    """What a request was about."""

    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    uid: str = ""


class User(msgspec.Struct, frozen=True):
    """Who asked."""

    username: str = ""


class Code(msgspec.Struct, frozen=True):
    """How it was answered."""

    code: int = 0


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of an audit.k8s.io/v1 Event that we go by."""

    stage: str
    verb: str
    stage_timestamp: str
    user: User
    object_ref: Ref | None = None
    response_status: Code | None = None
    request_object: msgspec.Raw = ABSENT
    response_object: msgspec.Raw = ABSENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One write that the API server answered."""

    at: Instant
    user: str
    verb: str
    ref: Ref
    code: int
    asked: bytes  # the request's object; empty where the log has none
    after: bytes  # the object afterwards; empty where the log has none

    @property
    def accepted(self) -> bool:
        """Whether it was done."""
        return 200 <= self.code < 300  # noqa: PLR2004 - HTTP

    def about(self, resource: str, subresource: str = "") -> bool:
        """Whether it concerns this kind of object."""
        return (self.ref.resource, self.ref.subresource) == (resource, subresource)


def read_audit(path: Path) -> tuple[Write, ...]:
    """All answered writes, in the order of their answers.

    Raises:
        InvalidInput: the file is not there, or it is no audit log.
    """
    try:
        return tuple(sorted(_writes(complete_lines(path)), key=_time))
    except msgspec.MsgspecError as exc:
        raise InvalidInput(
            f"{path} is no audit log: {exc}; is --audit-log-path of this run's API server there?"
        ) from exc


def _writes(lines: Iterable[bytes]) -> Iterator[Write]:
    decoder = msgspec.json.Decoder(Event)
    for text in lines:
        event = decoder.decode(text)
        if event.stage == OVER and event.verb in WRITES and event.object_ref is not None:
            yield Write(
                at=parse_rfc3339(event.stage_timestamp),
                user=event.user.username,
                verb=event.verb,
                ref=event.object_ref,
                code=event.response_status.code if event.response_status else 0,
                asked=_object(event.request_object),
                after=_object(event.response_object),
            )


def _time(write: Write) -> Instant:
    return write.at


def _object(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    return b"" if text == b"null" else text
