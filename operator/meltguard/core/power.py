"""What the service's GPUs can do, and whose count: those of ready pods that are believed, on nodes that stay."""

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from meltguard.core.fleet import NodeView
from meltguard.core.heat import Heat
from meltguard.core.load import PodLoad
from meltguard.core.models import Rates
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, NodeName, Share, UnitsPerSecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """GPUs, and image units a second that they can do."""

    gpus: Gpus  # that count
    busy: Share  # of the time, had they done the work of all
    per_gpu: UnitsPerSecond | None  # the mean of those that count; None: not learned
    counts: UnitsPerSecond | None  # derated; 0 where none counts that could; None: not known
    works: UnitsPerSecond | None  # derated, of all that work on what waits now: those that leave, those not Ready
    by_node: Mapping[NodeName, UnitsPerSecond]  # of what counts
    leaves: UnitsPerSecond  # what goes home still does, heard of or not
    unready: UnitsPerSecond  # what GPUs of pods that are not Ready do


def power_of(seen: Snapshot, rates: Rates | None, heat: Heat, leaving: AbstractSet[NodeName]) -> Power:
    """The power of what was seen, less that on nodes which are on their way home."""
    stays = [load for load in seen.believed if load.node not in leaving]
    gpus = Gpus(sum(load.gpus for load in stays))
    none = UnitsPerSecond(0.0)
    busy = _busy(seen, gpus)
    if rates is None:
        return Power(gpus=gpus, busy=busy, per_gpu=None, counts=None, works=None, by_node={}, leaves=none, unready=none)
    by_node: defaultdict[NodeName, float] = defaultdict(float)
    for load in stays:
        by_node[load.node] += _does(load, rates, heat)
    counts = UnitsPerSecond(sum(by_node.values()))
    leaves = sum(_does(load, rates, heat) for load in seen.believed if load.node in leaving)
    unheard = sum(unheard_on(loan, seen, rates) for loan in seen.loans if loan.name in leaving)
    unready = UnitsPerSecond(sum(load.busy * _does(load, rates, heat) for load in seen.overloaded))
    return Power(
        gpus=gpus,
        busy=busy,
        per_gpu=rates.mean(stays),
        counts=counts if seen.answers else None,
        works=UnitsPerSecond(counts + leaves + unready) if seen.answers else None,
        by_node={node: UnitsPerSecond(rate) for node, rate in by_node.items()},
        leaves=UnitsPerSecond(leaves + unheard),
        unready=unready,
    )


def unheard_on(loan: NodeView, seen: Snapshot, rates: Rates) -> UnitsPerSecond:
    """What Ready pods of the service do there of which no believed agent tells: they serve, as far as anybody knows."""
    namespace = loan.claim.policy.partition("/")[0] if loan.claim else ""
    ready = sum(pod.gpus for pod in loan.movable_pods if pod.namespace == namespace and pod.ready)
    unheard = ready - sum(load.gpus for load in seen.believed if load.node == loan.name)
    gpus = seen.gpus_of(loan)
    return UnitsPerSecond(max(0, unheard) * rates.of_node(loan, seen.gpu_kinds) / gpus if gpus else 0.0)


def _does(load: PodLoad, rates: Rates, heat: Heat) -> float:
    return load.gpus * rates.of_pod(load) * heat.left.get(load.pod, heat.share)


def _busy(seen: Snapshot, gpus: Gpus) -> Share:
    """The busy time of all answering ready pods, laid on the GPUs that stay: what only seems idle is none to give."""
    used = sum(load.busy * load.gpus for load in seen.believed)
    return Share(min(1.0, used / gpus) if gpus else 1.0)
