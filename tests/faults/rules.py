"""What the proxy is told to do, and to which requests: a short list of values."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

CLAIM_PATH = "/metadata/annotations/meltguard.io~1loan"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


class Moment(StrEnum):
    """On which side of the API server's commit."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A numbered write: a PATCH of a node, a pod or a scale, or an eviction."""

    number: int  # from 1, over the run
    label: str  # what it is for: Claimed, Cordoned, ..., Released, Notice, Mark, Evict, Scale
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One request as it reaches the proxy."""

    client: str  # which operator: the name of the door that it came by
    method: str
    path: str
    watch: bool
    write: Write | None  # None: it is not numbered
    body: bytes

    @property
    def listing(self) -> bool:
        """Whether it reads a collection that we know."""
        return self.method == "GET" and not self.watch and self.path.endswith(LISTS)


LISTS = ("/nodes", "/pods", "/imageservicepolicies", "/gpupools", "/namespaces")


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests: everything that is given must hold."""

    path: str = ""  # a regular expression, searched for
    method: str = ""
    label: str = ""  # of a numbered write
    numbered: bool | None = None  # True: numbered writes only
    watch: bool | None = None
    listing: bool | None = None
    client: str = ""

    def holds(self, hit: Hit) -> bool:
        """Whether a request is meant."""
        label = hit.write.label if hit.write else ""
        told = (
            not self.method or self.method == hit.method,
            not self.client or self.client == hit.client,
            not self.label or self.label == label,
            self.numbered is None or self.numbered == (hit.write is not None),
            self.watch is None or self.watch == hit.watch,
            self.listing is None or self.listing == hit.listing,
            not self.path or re.search(self.path, hit.path) is not None,
        )
        return all(told)


@dataclass(frozen=True, slots=True)
class Delay:
    """Forward it so many seconds later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection; nothing is forwarded."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection with a reset; nothing is forwarded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with this code instead of the API server; nothing is forwarded."""

    code: int
    retry_after: int = 0  # seconds; 0: the header is left out


@dataclass(frozen=True, slots=True)
class LoseReply:
    """Forward it, let it be committed, and reset the connection instead of answering."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Accept it and stay silent with the connection open, until the rules are taken off."""


@dataclass(frozen=True, slots=True)
class OldList:
    """Answer a list as it was when the proxy was told to remember."""


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL the operator before or after the commit."""

    moment: Moment


@dataclass(frozen=True, slots=True)
class Meddle:
    """Let somebody else act right before or after the commit."""

    moment: Moment
    act: Callable[[Hit], Awaitable[object]]


class Twist(StrEnum):
    """What happens to an event of a watch."""

    LOSE = "lose"
    DOUBLE = "double"
    SWAP = "swap"  # it comes after the next one
    HOLD = "hold"  # it comes when the rules are taken off: the stream is silent with its connection open


@dataclass(frozen=True, slots=True)
class TwistEvents:
    """In every open watch, twist events of this type (of all, bookmarks too, where it is empty).

    A rule with this act counts events, not requests.
    """

    twist: Twist
    type: str = ""


@dataclass(frozen=True, slots=True)
class ErrorInStream:
    """Begin the watch's stream with an ERROR event of this code, and end it."""

    code: int


Act = (
    Delay | Drop | Reset | Answer | LoseReply | Stall | OldList | Kill | Meddle | TwistEvents | ErrorInStream
)  # one a rule; several rules may concern one request


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """From the `first` matching request on, act `times` times (0: as long as the rule is there)."""

    match: Match
    act: Act
    first: int = 1
    times: int = 1


def label_of(method: str, path: str, body: bytes) -> str:
    """What a write is for; "" where it is none of the numbered ones.

    >>> label_of("POST", "/api/v1/namespaces/a/pods/p/eviction", b"{}")
    'Evict'
    """
    if method == "POST" and path.endswith("/eviction"):
        return "Evict"
    if method != "PATCH":
        return ""
    if path.endswith("/scale"):
        return "Scale"
    if re.fullmatch(r"/api/v1/nodes/[^/]+", path):
        return _node_label(_decoded(body))
    if re.fullmatch(r"/api/v1/namespaces/[^/]+/pods/[^/]+", path):
        return "Mark" if DELETION_COST.encode() in body or b"pod-deletion-cost" in body else "Notice"
    return ""


def _node_label(ops: Any) -> str:
    """The step that a node's patch enters."""
    for op in ops if isinstance(ops, list) else []:
        if op.get("path") != CLAIM_PATH or op.get("op") == "test":
            continue
        claim = _decoded(str(op.get("value", "")).encode())
        return str(claim.get("step", "Claim")) if isinstance(claim, dict) else "Released"
    return "Node"


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
