"""Which agents are believed: one that the others, or the GPUs beside it, contradict counts as not answering."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median_low
from typing import Final

from meltguard.core.decision import SignalPressure
from meltguard.core.load import PodLoad
from meltguard.core.policy import Policy, SignalKind
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, NodeName, PodUid, Seconds, Units, UnitsPerSecond

LOUD: Final = 8.0
"""A pod that is offered more than so many times what the others are is not believed; ROOM and LARGE_REQUESTS aside."""

ABSURD: Final = 100.0
"""The same while it is not known what a GPU does; beside others that are offered nothing, nothing is too much then."""

ROOM: Final = 10.0
"""What its own GPUs could do, so many times: requests are not always spread evenly."""

LARGE_REQUESTS: Final = Units(8.0)
"""Image units within the time that is looked at: a few large requests are no lie."""

FAST: Final = 20.0
"""Image units done, so many times what the others' GPUs need the time for."""

IN_HAND: Final = Units(10.0)
"""Of one GPU: what was begun before the time that is looked at is done in it."""

STUCK: Final = Seconds(3.0)
"""A GPU that works is counted as busy without a pause: counters that stand still for so long beside it are stuck."""

SETTLED: Final = Seconds(60.0)
"""What an exporter says may be half a minute old and an average: only what it says so long after counts."""

AT_WORK: Final = 0.5
"""Of a pod's GPUs: so many at least must work, by the platform, before a pod that tells of nothing is doubted."""

Doubts = Mapping[PodUid, str]


def weighed(
    policy: Policy, seen: Snapshot, platform: Sequence[SignalPressure], per_gpu: UnitsPerSecond | None
) -> Snapshot:
    """The same, each pod with the doubt there is about it; `per_gpu` is what a GPU is known to complete a second.

    Where no majority of the pods is left that agrees, nobody knows which of them lie, and none is believed.
    """
    pods = (*seen.loads, *seen.overloaded)
    alone = _stuck(pods) | _idle_beside_busy_gpus(policy, seen, platform)
    others = [load for load in pods if load.pod not in alone]
    guess = policy.capacity.units_per_gpu if policy.capacity else None
    known = per_gpu or guess or UnitsPerSecond(0.0)
    odd = _fast(others, seen.models, known) | _loud(others, known)
    doubts = {**alone, **odd}
    if 2 * len(odd) >= len(others):
        doubts = {load.pod: "as many pods tell otherwise" for load in others if odd} | doubts
    if not doubts:
        return seen
    return replace(seen, loads=_marked(seen.loads, doubts), unready=_marked(seen.unready, doubts))


def _marked(loads: Iterable[PodLoad], doubts: Doubts) -> tuple[PodLoad, ...]:
    return tuple(replace(load, doubt=doubts.get(load.pod, "")) for load in loads)


def doubts_in_words(seen: Snapshot) -> tuple[str, ...]:
    """Each pod that is not believed, and why."""
    return tuple(f"{load.name or load.pod} {load.doubt}" for load in (*seen.loads, *seen.unready) if load.doubt)


def agreed_share(loads: Sequence[PodLoad], beside: Units = LARGE_REQUESTS) -> float:
    """What is left of the demand when the loudest pod tells no more than the second loudest, and so many units.

    No single agent's word moves a node. Over the last minute, so that a request that comes once in a while is no
    loudness; of one pod alone all is left.
    """
    total = sum(_offered(load) * load.gpus for load in loads)
    if len(loads) < 2 or total <= 0:  # noqa: PLR2004 - a pair
        return 1.0
    *_, second, loudest = sorted(loads, key=_offered)
    beyond = (_offered(loudest) - _offered(second)) * loudest.gpus - beside / loudest.told.span
    return 1.0 - max(0.0, beyond) / total


def unheard_share(loads: Sequence[PodLoad]) -> float:
    """The same the other way, 1 or more: the quietest pod is heard as the second quietest.

    No single agent's silence gives a node back.
    """
    total = sum(_offered(load) * load.gpus for load in loads)
    if len(loads) < 2 or total <= 0:  # noqa: PLR2004 - a pair
        return 1.0
    quietest, second, *_ = sorted(loads, key=_offered)
    return 1.0 + (_offered(second) - _offered(quietest)) * quietest.gpus / total


def _offered(load: PodLoad) -> float:
    """Image units a second for each of its GPUs."""
    told = load.told
    return told.offered / (told.span * load.gpus) if told.span > 0 else 0.0


def _without(ordered: Sequence[float], value: float) -> float:
    """The lower median of the sorted values without this one of them."""
    half = (len(ordered) - 2) // 2
    return ordered[half] if bisect_left(ordered, value) > half else ordered[half + 1]


def _stuck(loads: Iterable[PodLoad]) -> dict[PodUid, str]:
    return {
        load.pod: f"has images in its GPUs and has counted nothing for {load.still:.0f} s"
        for load in loads
        if load.still >= STUCK and load.in_flight > 0
    }


def _loud(loads: Sequence[PodLoad], per_gpu: UnitsPerSecond) -> dict[PodUid, str]:
    """Offered far more than the others are."""
    if len(loads) < 2:  # noqa: PLR2004 - there is nobody to compare with
        return {}
    ordered = sorted(_offered(load) for load in loads)
    found: dict[PodUid, str] = {}
    for load in loads:
        rate = _offered(load)
        others = _without(ordered, rate)
        if rate > _most(load, others, per_gpu):
            found[load.pod] = f"tells of {rate * load.gpus:.4g} units a second, the others of {others * load.gpus:.4g}"
    return found


def _most(load: PodLoad, others: float, per_gpu: UnitsPerSecond) -> float:
    """Units a second for each of its GPUs that a pod may tell of, beside others that tell of so many."""
    large = LARGE_REQUESTS / (load.told.span * load.gpus) if load.told.span > 0 else 0.0
    if per_gpu > 0:
        return LOUD * others + ROOM * per_gpu + large
    return (ABSURD * others if others > 0 else math.inf) + large


def _fast(loads: Sequence[PodLoad], models: Mapping[PodUid, str], per_gpu: UnitsPerSecond) -> dict[PodUid, str]:
    """Done far more than GPUs like its own can do in the time that they worked: limits would be loosened by it."""
    alike: defaultdict[str, list[PodLoad]] = defaultdict(list)
    for load in loads:
        alike[models.get(load.pod, "")].append(load)
    found: dict[PodUid, str] = {}
    for pods in alike.values():
        speeds = [pod.told.done / pod.told.busy for pod in pods if pod.told.done > 0 and pod.told.busy > 0]
        if len(pods) < 2 or not speeds:  # noqa: PLR2004 - there is nobody to compare with
            continue
        usual = max(per_gpu, median_low(speeds))
        found |= {
            pod.pod: f"tells of {pod.told.done:.4g} units done in {pod.told.busy:.0f} s of a GPU"
            for pod in pods
            if pod.told.done > FAST * usual * pod.told.busy + 2.0 * IN_HAND + IN_HAND * pod.gpus
        }
    return found


def _idle_beside_busy_gpus(policy: Policy, seen: Snapshot, platform: Sequence[SignalPressure]) -> dict[PodUid, str]:
    """Counters that stand still while the platform sees that pod's GPUs work are unknown, not zero."""
    fresh = {signal.name: signal for signal in platform if signal.pressure is not None}
    kinds = {signal.name for signal in policy.signals if signal.kind is SignalKind.GPU_UTILIZATION}
    found: dict[PodUid, str] = {}
    if all(load.still < SETTLED for load in seen.loads):
        return found
    for reading in (one for one in seen.readings if one.signal in kinds & fresh.keys()):
        used = _working(seen, reading.by_node)
        for load in seen.loads:
            since = load.age + load.still - reading.age  # from its last count to the platform's sample
            mine = used.get(load.node, 0.0)
            if load.age <= reading.age and since >= SETTLED and mine >= AT_WORK:
                share = reading.by_node[load.node]
                found[load.pod] = (
                    f"has counted nothing for {load.still:.0f} s, while its node's GPUs work at {share:.0f} %"
                )
    return found


def _working(seen: Snapshot, used: Mapping[NodeName, float]) -> dict[NodeName, float]:
    """By node: which share of the service's GPUs there works at least, even if all others' GPUs on it do."""
    own: defaultdict[NodeName, int] = defaultdict(int)
    for load in seen.loads:
        own[load.node] += load.gpus
    pods = {load.pod for load in seen.loads}
    found: dict[NodeName, float] = {}
    for node in (
        node for pool in seen.pools.values() for node in pool.members if node.name in own.keys() & used.keys()
    ):
        foreign = Gpus(sum(pod.gpus for pod in node.pods if pod.uid not in pods and not pod.finished))
        found[node.name] = (used[node.name] / 100.0 * node.gpus - foreign) / own[node.name]
    return found
