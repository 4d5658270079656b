"""An Event on the wire (events.k8s.io/v1): something happened to an object, once or again and again."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from meltguard.clock import rfc3339_micro
from meltguard.core.units import Instant

API_VERSION: Final = "events.k8s.io/v1"
LONGEST_NOTE: Final = 1024
"""The API server refuses longer ones."""

NO_NAMESPACE: Final = "default"
"""Where Events about cluster-scoped objects live."""


class EventType(StrEnum):
    """Whether someone should look."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRef:
    """The object that an Event is about, or that owns another."""

    api_version: str
    kind: str
    name: str
    uid: str
    namespace: str = ""  # empty where it is cluster-scoped


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """What happened. `reason` and `action` are CamelCase and part of the interface."""

    regarding: ObjectRef
    reason: str
    message: str
    action: str
    type: EventType = EventType.NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedEvent:
    """An Event as it stands in the cluster, for posting the same once more."""

    namespace: str
    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Who says so."""

    controller: str  # such as meltguard.io/operator
    instance: str  # the pod


def event_body(record: EventRecord, name: str, reporter: Reporter, at: Instant) -> dict[str, Any]:
    """A first Event."""
    regarding = record.regarding
    return {
        "apiVersion": API_VERSION,
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace_of(regarding)},
        "eventTime": rfc3339_micro(at),
        "reportingController": reporter.controller,
        "reportingInstance": reporter.instance[:128],
        "action": record.action,
        "reason": record.reason,
        "type": record.type,
        "note": shortened(record.message),
        "regarding": {
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "name": regarding.name,
            "uid": regarding.uid,
            **({"namespace": regarding.namespace} if regarding.namespace else {}),
        },
    }


def series_patch(count: int, at: Instant) -> dict[str, Any]:
    """A merge patch: the same has happened for the `count`th time. All else of an Event is immutable."""
    return {"series": {"count": count, "lastObservedTime": rfc3339_micro(at)}}


def namespace_of(regarding: ObjectRef) -> str:
    """Where an Event about the object lives."""
    return regarding.namespace or NO_NAMESPACE


def shortened(message: str) -> str:
    """At most as many bytes as the API server takes."""
    if len(message.encode()) <= LONGEST_NOTE:
        return message
    return message.encode()[: LONGEST_NOTE - 3].decode(errors="ignore") + "..."
