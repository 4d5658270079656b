"""What the local runner says about a pod. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, assert_never

from meltguard.clock import rfc3339
from meltguard.core.units import Instant
from meltguard.localcluster.kubelet.shapes import Pod


class Phase(StrEnum):
    """Kubernetes' own words."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not started yet, or between two runs."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A process runs."""

    since: Instant


@dataclass(frozen=True, slots=True)
class Ended:
    """A process has ended."""

    code: int  # 128 + n where signal n ended it
    began: Instant
    at: Instant


State = Waiting | Running | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNow:
    """A pod as it is."""

    phase: Phase
    state: State
    ip: str
    node_ip: str
    began: Instant
    ready: bool = False
    restarts: int = 0
    last: Ended | None = None
    message: str = ""


@dataclass(slots=True)
class Conditions:
    """Remembers since when each condition is what it is."""

    _since: dict[str, tuple[str, Instant]] = field(default_factory=dict)

    def listed(self, now: PodNow, at: Instant) -> list[dict[str, Any]]:
        """The conditions that a kubelet keeps."""
        ready = "True" if now.ready else "False"
        why = "" if now.ready else ("PodCompleted" if now.phase is Phase.SUCCEEDED else "ContainersNotReady")
        return [
            self._one("Initialized", "True", "", at),
            self._one("ContainersReady", ready, why, at),
            self._one("Ready", ready, why, at),
        ]

    def _one(self, kind: str, status: str, reason: str, at: Instant) -> dict[str, Any]:
        if self._since.get(kind, ("", at))[0] != status:
            self._since[kind] = (status, at)
        since = rfc3339(self._since[kind][1])
        return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": since}


def status_patch(pod: Pod, now: PodNow, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    """A strategic merge patch for pods/status that fits only this very pod."""
    container = pod.spec.containers[0]
    status = {
        "phase": now.phase.value,
        "message": now.message,
        "hostIP": now.node_ip,
        "podIP": now.ip,
        "podIPs": [{"ip": now.ip}],
        "startTime": rfc3339(now.began),
        "conditions": conditions,
        "containerStatuses": [
            {
                "name": container.name,
                "image": container.image,
                "imageID": "",
                "ready": now.ready,
                "started": isinstance(now.state, Running),
                "restartCount": now.restarts,
                "state": _state(now.state),
                "lastState": _state(now.last) if now.last else {},
            }
        ],
    }
    return {"metadata": {"uid": pod.metadata.uid}, "status": status}


def _state(state: State) -> dict[str, Any]:
    match state:
        case Waiting():
            return {"waiting": {"reason": state.reason, "message": state.message}}
        case Running():
            return {"running": {"startedAt": rfc3339(state.since)}}
        case Ended():
            reason = "Completed" if state.code == 0 else "Error"
            times = {"startedAt": rfc3339(state.began), "finishedAt": rfc3339(state.at)}
            return {"terminated": {"exitCode": state.code, "reason": reason, **times}}
        case _:
            assert_never(state)
