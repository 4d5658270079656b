"""The API server's audit log as the checker reads it: one value for each answered write, and the objects in it.

Nothing here uses the operator's own reading of nodes, pods or claims: a bug there must not blind the checker.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from meltguard.clock import parse_rfc3339

WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
OVER: Final = "ResponseComplete"
CLAIM: Final = "meltguard.io/loan"
EPOCH: Final = "meltguard.io/epoch"
NO_OBJECT: Final = msgspec.Raw(b"null")


class Ref(msgspec.Struct, frozen=True):
    """What a request was about."""

    resource: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""


class User(msgspec.Struct, frozen=True):
    """Who asked."""

    username: str = ""


class Code(msgspec.Struct, frozen=True):
    """How it was answered."""

    code: int = 0
    message: str = ""


class Line(msgspec.Struct, frozen=True, rename="camel"):
    """One line of the log."""

    stage: str
    verb: str
    stage_timestamp: str
    request_received_timestamp: str
    user: User
    audit_id: str = msgspec.field(name="auditID", default="")
    object_ref: Ref | None = None
    response_status: Code | None = None
    request_object: msgspec.Raw = NO_OBJECT
    response_object: msgspec.Raw = NO_OBJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One write that the API server answered."""

    id: str  # the audit event's
    asked_at: float  # seconds since the epoch; it was committed between the two
    at: float
    user: str
    verb: str
    ref: Ref
    code: int
    said: str  # a refusal's words
    asked: Any  # the request's object, decoded; None where the log has none
    after: Any  # the object afterwards; None where the log has none

    @property
    def accepted(self) -> bool:
        """Whether it was done."""
        return 200 <= self.code < 300

    @property
    def version(self) -> int:
        """The store's revision that it made; 0 where the answer has none."""
        text = _metadata(self.after).get("resourceVersion", "")
        return int(text) if str(text).isdigit() else 0

    def about(self, resource: str, *subresources: str) -> bool:
        """Whether it concerns this kind of object, itself or by one of these subresources."""
        return self.ref.resource == resource and self.ref.subresource in (subresources or ("",))

    @property
    def of_nodes(self) -> bool:
        """Whether it wrote a node."""
        return self.about("nodes", "", "status")


def _metadata(body: Any) -> dict[str, Any]:
    found = body.get("metadata") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def read_deeds(path: Path, offset: int = 0) -> tuple[Deed, ...]:
    """All answered writes from a byte offset on, in the order of their answers; a line being written is left out."""
    with path.open("rb") as file:
        file.seek(offset)
        whole = file.read()
    return deeds_of(whole[: whole.rfind(b"\n") + 1].splitlines())


def deeds_of(lines: Iterable[bytes]) -> tuple[Deed, ...]:
    """The same of lines at hand."""
    return tuple(sorted(_deeds(lines), key=_when))


def _when(deed: Deed) -> float:
    return deed.at


def _deeds(lines: Iterable[bytes]) -> Iterator[Deed]:
    decoder = msgspec.json.Decoder(Line)
    for text in lines:
        line = decoder.decode(text)
        if line.stage != OVER or line.verb not in WRITES or line.object_ref is None:
            continue
        answer = line.response_status or Code()
        yield Deed(
            id=line.audit_id,
            asked_at=parse_rfc3339(line.request_received_timestamp),
            at=parse_rfc3339(line.stage_timestamp),
            user=line.user.username,
            verb=line.verb,
            ref=line.object_ref,
            code=answer.code,
            said=answer.message,
            asked=msgspec.json.decode(line.request_object),
            after=msgspec.json.decode(line.response_object),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node as the API server had it."""

    name: str
    uid: str
    version: int
    labels: dict[str, str]
    annotations: dict[str, str]
    taints: tuple[tuple[str, str, str], ...]  # key, value, effect
    cordoned: bool
    ready: bool

    @property
    def claim(self) -> dict[str, Any] | None:
        """The claim's JSON; {} where the annotation is none; None where there is no annotation."""
        text = self.annotations.get(CLAIM)
        if text is None:
            return None
        try:
            read = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return {}
        return read if isinstance(read, dict) else {}

    @property
    def step(self) -> str:
        """The claim's step; "" without a claim."""
        return str((self.claim or {}).get("step", ""))

    @property
    def epoch(self) -> int:
        """Of the last writer of ours; 0 where there was none."""
        text = self.annotations.get(EPOCH, "")
        return int(text) if text.isdigit() else 0


def node_of(body: Any) -> Node:
    """A node from its decoded JSON."""
    metadata, spec, status = _metadata(body), body.get("spec") or {}, body.get("status") or {}
    taints = [(t.get("key", ""), t.get("value", ""), t.get("effect", "")) for t in spec.get("taints") or ()]
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
    return Node(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        version=int(metadata.get("resourceVersion", "0")),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        taints=tuple(taints),
        cordoned=bool(spec.get("unschedulable")),
        ready=conditions.get("Ready") == "True",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod as the API server had it."""

    uid: str
    namespace: str
    name: str
    node: str
    labels: dict[str, str]
    annotations: dict[str, str]
    owner: str  # kind of its controller; "" where it has none
    finished: bool
    terminating: bool
    grace: float

    @property
    def movable(self) -> bool:
        """Whether it must have left before its node changes hands."""
        mirror = "kubernetes.io/config.mirror" in self.annotations
        return not (self.finished or mirror or self.owner == "DaemonSet")


def pod_of(body: Any) -> Pod:
    """A pod from its decoded JSON."""
    metadata, spec, status = _metadata(body), body.get("spec") or {}, body.get("status") or {}
    owners = metadata.get("ownerReferences") or ()
    return Pod(
        uid=metadata.get("uid", ""),
        namespace=metadata.get("namespace", ""),
        name=metadata.get("name", ""),
        node=spec.get("nodeName", ""),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        owner=next((str(one.get("kind", "")) for one in owners if one.get("controller")), ""),
        finished=status.get("phase") in {"Succeeded", "Failed"},
        terminating="deletionTimestamp" in metadata,
        grace=float(spec.get("terminationGracePeriodSeconds") or 30.0),
    )
