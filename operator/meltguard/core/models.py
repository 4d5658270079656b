"""GPUs of several models in one service: what one of each completes is learned for itself.

One average over all of them would be wrong whenever the mix changes, as it does with each node that is lent.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from meltguard.core.demand import Pace, learned, total_load
from meltguard.core.load import PodLoad
from meltguard.core.units import NodeName, Seconds, Units, UnitsPerSecond

MOST_MODELS: Final = 8
"""A service has few; whatever names nodes bear, no more are remembered."""

PRODUCT_LABELS: Final = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "gpu.intel.com/product")
"""Where the vendors' feature discovery names a node's model."""

Speeds = Mapping[str, tuple[UnitsPerSecond, Units]]
"""By model: image units that a busy GPU completes in a second, and the image units that this was learned from."""

Models = Mapping[NodeName, str]


def model_of(labels: Mapping[str, str]) -> str:
    """A node's GPU model; "" where its labels do not say.

    >>> model_of({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"})
    'NVIDIA-H100-80GB-HBM3'
    """
    return next((labels[key] for key in PRODUCT_LABELS if labels.get(key)), "")


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


def rate_of_mix(
    speeds: Speeds, loads: Sequence[PodLoad], models: Models, together: UnitsPerSecond | None
) -> UnitsPerSecond | None:
    """What one GPU of the mix that serves now completes when busy; of one model alone, what all do together."""
    parts = _by_model(loads, models)
    gpus = sum(load.gpus for load in loads)
    if together is None or len(parts) == 1 or not gpus:
        return together
    total = 0.0
    for model, own in parts.items():
        known = speeds.get(model)
        trusted = Pace(rate=known[0], evidence=known[1]).trusted if known is not None else None
        total += sum(load.gpus for load in own) * (together if trusted is None else trusted)
    return UnitsPerSecond(total / gpus)


def _by_model(loads: Sequence[PodLoad], models: Models) -> Mapping[str, list[PodLoad]]:
    parts: defaultdict[str, list[PodLoad]] = defaultdict(list)
    for load in loads:
        parts[models.get(load.node, "")].append(load)
    return parts
