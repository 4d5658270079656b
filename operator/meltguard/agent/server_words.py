"""What image servers say of themselves, in their own formats. Pure.

A series that is missing is unknown, never zero: a server that was just started, or a newer version with other names,
would else look idle.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput


class ServerKind(StrEnum):
    """Whose format it is."""

    VLLM = "vllm"
    TRITON = "triton"
    RAY_SERVE = "ray-serve"
    COMFYUI = "comfyui"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerWords:
    """One reading; None is unknown."""

    held: int  # requests in the server at least, running or waiting, whoever sent them
    waiting: int  # those that do not run yet
    all_told: bool = True  # False: what runs is not told, so `held` says only how many there are at least
    busy: Seconds | None = None  # seconds of work so far, over all requests; grows until the server restarts


@dataclass(frozen=True, slots=True)
class Preset:
    """How one kind of server is read."""

    path: str
    port: int | None  # None: the server's own
    read: Callable[[str], ServerWords]


def read_vllm(text: str) -> ServerWords:
    """Of vLLM and of what speaks like it: the sum over its engines."""
    found = _sums(text, ("vllm:num_requests_running", "vllm:num_requests_waiting", VLLM_BUSY))
    running, waiting = _needed(found, "vllm:num_requests_running"), _needed(found, "vllm:num_requests_waiting")
    return ServerWords(held=round(running + waiting), waiting=round(waiting), busy=_seconds(found.get(VLLM_BUSY)))


def read_triton(text: str) -> ServerWords:
    """Of Triton, on its metrics port: it tells what waits for execution, and not what runs.

    A model that batches executes several requests at once, and its compute time counts once for each of them.
    """
    found = _sums(text, (TRITON_WAITING, TRITON_BUSY))
    waiting, busy = round(_needed(found, TRITON_WAITING)), found.get(TRITON_BUSY)
    spent = None if busy is None else Seconds(busy / MICROSECONDS)
    return ServerWords(held=waiting, waiting=waiting, all_told=False, busy=spent)


def read_ray_serve(text: str) -> ServerWords:
    """Of Ray Serve, on its node's metrics port: what waits for a replica, and what runs in one."""
    names = ("ray_serve_deployment_queued_queries", "ray_serve_replica_processing_queries", RAY_BUSY)
    found = _sums(text, names)
    waiting, running = _needed(found, names[0]), _needed(found, names[1])
    busy = found.get(RAY_BUSY)
    return ServerWords(
        held=round(running + waiting),
        waiting=round(waiting),
        busy=None if busy is None else Seconds(busy / MILLISECONDS),
    )


def read_comfyui(text: str) -> ServerWords:
    """Of ComfyUI's `/queue`.

    >>> read_comfyui('{"queue_running": [[1, "a"]], "queue_pending": [[2, "b"], [3, "c"]]}')
    ServerWords(held=3, waiting=2, all_told=True, busy=None)
    """
    try:
        told = json.loads(text)
        running, pending = told["queue_running"], told["queue_pending"]
    except (ValueError, KeyError, TypeError) as exc:
        raise InvalidInput(f"this is not ComfyUI's queue ({exc}); is the URL that of /queue?") from exc
    if not isinstance(running, list) or not isinstance(pending, list):
        raise InvalidInput("ComfyUI's queue_running and queue_pending are not lists; is the URL that of /queue?")
    return ServerWords(held=len(running) + len(pending), waiting=len(pending))


VLLM_BUSY: Final = "vllm:request_inference_time_seconds_sum"
TRITON_WAITING: Final = "nv_inference_pending_request_count"
TRITON_BUSY: Final = "nv_inference_compute_infer_duration_us"
RAY_BUSY: Final = "ray_serve_deployment_processing_latency_ms_sum"
MILLISECONDS: Final = 1_000
MICROSECONDS: Final = 1_000_000
MOST: Final = 1e15

PRESETS: Final[Mapping[ServerKind, Preset]] = {
    ServerKind.VLLM: Preset("/metrics", None, read_vllm),
    ServerKind.TRITON: Preset("/metrics", 8002, read_triton),
    ServerKind.RAY_SERVE: Preset("/metrics", 8080, read_ray_serve),
    ServerKind.COMFYUI: Preset("/queue", None, read_comfyui),
}


def _sums(text: str, names: Iterable[str]) -> dict[str, float]:
    """Each series' sum over its labels (engines, models, replicas); a series without a sample is left out.

    Only the wanted lines are parsed: a busy vLLM writes thousands of histogram buckets.
    """
    wanted = frozenset(names)
    lines = [line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] in wanted]
    sums: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    except ValueError as exc:
        raise InvalidInput(f"these are no metrics: {exc}; is the URL that of the server's metrics?") from exc
    return {name: value for name, value in sums.items() if 0 <= value < MOST}


def _needed(found: Mapping[str, float], name: str) -> float:
    if name not in found:
        raise InvalidInput(f"the server does not tell {name}; is it the right preset, and has it served a request?")
    return found[name]


def _seconds(value: float | None) -> Seconds | None:
    return None if value is None else Seconds(value)
