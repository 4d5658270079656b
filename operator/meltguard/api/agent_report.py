"""What an agent answers: the document it enforces and its counters.

Counters only grow during one `instance`; a new instance starts at zero. The reader forms rates from two reports.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from meltguard.api.wire import MessageModel

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]


class LimitSource(StrEnum):
    """Which document an agent goes by."""

    LEASE = "Lease"
    BASELINE = "Baseline"  # no live lease: the safe limits, later ramped to the tiers' maxima
    OWN_GPU = "OwnGpu"  # no document at all: it guards only its own GPU


class TierReport(MessageModel):
    """One tier at one pod, since the instance started (counters) or now (gauges)."""

    offered_units: Amount = 0.0
    """Image units of all requests that came, refused and waiting ones included, retries counted once."""
    offered_squares: Amount = 0.0
    """Of the same, the sum of the squares of what each asked for: how unevenly they come; 0: not told."""
    barred_units: Amount = 0.0
    """Image units of those that were refused for what no GPU would mend: they are no demand."""
    offered: Count = 0
    admitted: Count = 0
    admitted_units: Amount = 0.0
    waited: Count = 0
    """Admitted requests that had to wait in the queue."""
    refused: dict[str, Count] = Field(default_factory=dict)
    """Requests turned away, by reason (see agent.refusal.Reason)."""
    waiting: Count = 0
    """Now in the queue."""
    waiting_units: Amount = 0.0
    waiting_for_gpu_units: Amount | None = None
    """The part of `waiting_units` that busy GPUs alone hold back, not the tier's rate; None: the agent does not say."""
    rate: Amount | None = None
    """Image units a second that this pod lets in now; None: no rate holds the tier back."""
    oldest_wait: Amount = 0.0
    """Seconds that the longest waiting request has waited."""
    wait_p50: Amount = 0.0
    """Seconds, over the admitted of the last minute."""
    wait_p99: Amount = 0.0


class AgentReport(MessageModel):
    """One agent's answer to `PUT /v1/limits` and `GET /v1/report`."""

    pod_uid: str
    instance: str
    """Random at each start of the agent: counters restart with it."""
    sequence: Count = 0
    """Grows when something worth telling happens; `GET /v1/report?after=N` is held open until it exceeds N."""
    uptime: Amount
    """Seconds on the agent's monotonic clock; rates are formed over its differences."""
    source: LimitSource
    epoch: Count = 0
    revision: Count = 0
    """(epoch, revision) of the document enforced now; 0, 0 where there is none."""
    lease_left: Amount = 0.0
    """Seconds until the lease ends."""
    gpus: Count = 1
    busy_gpu_seconds: Amount = 0.0
    """GPU-seconds spent on images so far, requests in progress included."""
    units_done: Amount = 0.0
    """Image units completed so far."""
    in_flight: Count = 0
    in_flight_units: Amount = 0.0
    """Units admitted and not finished."""
    server_held: Count | None = None
    """Requests in the image server by its own word, at least; None: it does not say, or not lately."""
    server_waiting: Count | None = None
    """Those of them that do not run yet."""
    server_busy_seconds: Amount | None = None
    """Seconds that the server worked by its own word, over all its requests; starts anew with the server."""
    others: Count = 0
    """Requests in the server that did not come through this agent; they take GPUs from those that do."""
    quota_store: str = "ok"
    """How the store of quotas stands, in a word of `meltguard.api.store_state.StoreState`."""
    tiers: dict[str, TierReport] = Field(default_factory=dict)
