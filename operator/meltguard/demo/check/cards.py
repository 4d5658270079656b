"""The scene's two cards that are not as they should be: what was measured of them, and what was made of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import geometric_mean, median
from typing import Final

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Celsius, Instant, Share

SLOW_AT_MOST: Final = Share(0.8)
"""A pod on a slow card must be seen to work at no more than this share of its peers' pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRef:
    """One serving pod."""

    node: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """One of the service's nodes at one moment."""

    at: Instant
    node: str
    hottest: Celsius | None  # its hottest GPU
    counted: Share | None  # of its GPUs' work, that its pods' limit documents count on


@dataclass(frozen=True, slots=True, kw_only=True)
class HotGpu:
    """The node with a badly cooled card beside the others, over a run."""

    node: str
    since: Instant | None  # when it first counted for less than a cool one; None: it never did
    hottest: Celsius
    others: Celsius  # the hottest GPU of any other of the service's nodes
    counted: Share  # the least share of its GPUs' work that the law counted on
    others_counted: Share  # of the nodes that were counted on least beside it


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowPod:
    """The pod on a slow card beside the other pods of its node, while it lived in the surge."""

    pod: PodRef
    until: Instant  # its last request
    pace: float  # image units a minute of its GPU's time, in the geometric mean of its requests
    peers_pace: float  # the same of all of theirs
    requests: int  # that it took
    peers_requests: float  # their median

    @property
    def pace_share(self) -> Share:
        """Its pace, over a peer's."""
        return Share(self.pace / self.peers_pace) if self.peers_pace > 0 else Share(1.0)

    @property
    def work_share(self) -> Share:
        """Its requests, over a peer's."""
        return Share(self.requests / self.peers_requests)


def hot_gpu(glimpses: Sequence[Glimpse], node: str) -> HotGpu | None:
    """The node's figures; None where it was not seen beside others."""
    degrees = _by_side([(one.node == node, one.hottest) for one in glimpses])
    counted = _by_side([(one.node == node, one.counted) for one in glimpses])
    if not all((*degrees, *counted)):
        return None
    (own, others), (share, others_share) = degrees, counted
    less = (one.at for one in glimpses if one.node == node and one.counted is not None and one.counted < 1.0)
    return HotGpu(
        node=node,
        since=min(less, default=None),
        hottest=Celsius(max(own)),
        others=Celsius(max(others)),
        counted=Share(min(share)),
        others_counted=Share(min(others_share)),
    )


def _by_side(values: Sequence[tuple[bool, float | None]]) -> tuple[list[float], list[float]]:
    own = [value for here, value in values if here and value is not None]
    return own, [value for here, value in values if not here and value is not None]


def slow_pod(entries: Iterable[JournalEntry], pod: PodRef, since: Instant) -> SlowPod | None:
    """The figures of a pod from `since` to its last request, beside its node's others; None where one took none."""
    made = [entry for entry in entries if entry.verdict == "admitted" and entry.at >= since]
    until = max((entry.at for entry in made if entry.pod == pod.uid), default=since)
    by_pod: defaultdict[str, list[JournalEntry]] = defaultdict(list)
    for entry in made:
        if entry.at <= until:
            by_pod[entry.pod].append(entry)
    own, peers = by_pod.pop(pod.uid, []), list(by_pod.values())
    if not own or not peers:
        return None
    return SlowPod(
        pod=pod,
        until=until,
        pace=_pace(own),
        peers_pace=_pace(list(chain.from_iterable(peers))),
        requests=len(own),
        peers_requests=median(len(entries) for entries in peers),
    )


def _pace(entries: Sequence[JournalEntry]) -> float:
    """A request's usual pace: one of ten times the usual length would be most of a sum over a pod's thirty requests."""
    paces = [60.0 * entry.units / entry.took for entry in entries if entry.delivered and entry.took > 0]
    return geometric_mean(paces) if paces else 0.0
