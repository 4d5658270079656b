"""GPUs of several models in one service: what one of each completes is learned for itself.

One average over all of them would be wrong whenever the mix changes, as it does with each node that is lent.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.core.demand import Pace, learned, total_load
from meltguard.core.fleet import NodeView
from meltguard.core.load import PodLoad
from meltguard.core.units import PodUid, Seconds, Units, UnitsPerSecond

MOST_MODELS: Final = 8
"""A service has few; whatever names nodes bear, no more are remembered."""

PRODUCT_LABELS: Final = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "gpu.intel.com/product")
"""Where the vendors' feature discovery names a node's product."""

Speeds = Mapping[str, tuple[UnitsPerSecond, Units]]
"""By model: image units that a busy GPU completes in a second, and the image units that this was learned from."""

Models = Mapping[PodUid, str]


def model_of(labels: Mapping[str, str], kinds: frozenset[str]) -> str:
    """What a pod's GPUs are: its node's product, and the resource it asks for; "" where neither is known.

    A whole card and a slice of one bear the same product and do not do the same.

    >>> model_of({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, frozenset({"nvidia.com/mig-1g.10gb"}))
    'NVIDIA-H100-80GB-HBM3 nvidia.com/mig-1g.10gb'
    """
    product = next((labels[key] for key in PRODUCT_LABELS if labels.get(key)), "")
    return " ".join(filter(None, (product, *sorted(kinds))))


def speeds_after(before: Speeds, loads: Sequence[PodLoad], models: Models, given: tuple[Seconds, Pace]) -> Speeds:
    """With what each model's GPUs did since; `given` is (time since the last decision, the pace of all together)."""
    span, together = given
    after = dict(before)
    for model, own in _by_model(loads, models).items():
        known = before.get(model)
        pace = Pace(rate=None, evidence=Units(0.0)) if known is None else Pace(rate=known[0], evidence=known[1])
        pace = learned(pace, total_load(own, ()), span, together.rate)
        if model and pace.rate is not None and (model in after or len(after) < MOST_MODELS):
            after[model] = (pace.rate, pace.evidence)
    return after


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one busy GPU completes in a second, by its model."""

    together: UnitsPerSecond  # the average of all: what a model of which too little is known counts as
    speeds: Speeds
    models: Models

    def of_model(self, model: str) -> UnitsPerSecond:
        """One GPU of this model."""
        known = self.speeds.get(model)
        trusted = Pace(rate=known[0], evidence=known[1]).trusted if known is not None else None
        return self.together if trusted is None else trusted

    def of_pod(self, load: PodLoad) -> UnitsPerSecond:
        """One GPU of this pod."""
        return self.of_model(self.models.get(load.pod, ""))

    def of_node(self, node: NodeView, asked: frozenset[str]) -> UnitsPerSecond:
        """All GPUs of a node that pods asking for these resources can be given."""
        kinds = {kind: count for kind, count in node.by_kind.items() if not asked or kind in asked}
        if not node.by_kind:
            return UnitsPerSecond(node.gpus * self.of_model(model_of(node.labels, frozenset())))
        each = ((count, model_of(node.labels, frozenset({kind}))) for kind, count in kinds.items())
        return UnitsPerSecond(sum(count * self.of_model(model) for count, model in each))

    def mean(self, loads: Sequence[PodLoad]) -> UnitsPerSecond:
        """One GPU of the mix that these pods run on."""
        gpus = sum(load.gpus for load in loads)
        total = sum(load.gpus * self.of_pod(load) for load in loads)
        return UnitsPerSecond(total / gpus) if gpus else self.together


def worth_of(node: NodeView, asked: frozenset[str], usual: tuple[Rates, UnitsPerSecond] | None) -> float:
    """How many GPUs such as serve today a node stands for; `usual` is (the rates, the mean of what serves today)."""
    if usual is None or not usual[1]:
        return float(node.gpus_for(asked))
    rates, mean = usual
    return round(rates.of_node(node, asked) / mean, 3)  # a hair less than a whole GPU would ask for one node more


def _by_model(loads: Sequence[PodLoad], models: Models) -> Mapping[str, list[PodLoad]]:
    parts: defaultdict[str, list[PodLoad]] = defaultdict(list)
    for load in loads:
        parts[models.get(load.pod, "")].append(load)
    return parts
