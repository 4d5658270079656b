"""From the pods' rates to the service's demand, and to what a GPU can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.core.averages import smoothed
from meltguard.core.load import PodLoad
from meltguard.core.policy import Tier
from meltguard.core.units import Gpus, Seconds, Share, TierName, Units, UnitsPerSecond

DEMAND_UP, DEMAND_DOWN = 0.5, 0.1
"""Fast up for a clear rise, else slow both ways: an average that climbs fast at every chance reads it as demand."""

CLEAR_RISE = 0.25
"""A rise of more than this share of the capacity is a clear one."""

EVIDENCE = Units(600.0)
"""Image units after which what was known before counts for a third: requests differ by size, a few say little."""

SOME_EVIDENCE: Final = Units(20.0)
"""Image units: what a first guess of a GPU's rate is worth, or a rate of which nothing else is known."""

MIN_DONE = Units(5.0)
"""Image units that must have been completed before a first estimate counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a busy GPU does, as far as is known."""

    rate: UnitsPerSecond | None  # image units a second; None: nothing is known
    evidence: Units  # image units that it was learned from, at most EVIDENCE

    @property
    def trusted(self) -> UnitsPerSecond | None:
        """The rate, once enough was completed."""
        return self.rate if self.evidence >= MIN_DONE else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLoad:
    """All answering pods together."""

    gpus: Gpus
    busy: Share
    done: UnitsPerSecond
    offered: Mapping[TierName, UnitsPerSecond]
    swings: float  # of all that is offered; as in TierLoad
    waiting: Mapping[TierName, Units]
    for_gpu: Mapping[TierName, Units | None]  # of those: held back by busy GPUs alone; None: not every pod says so
    age: Seconds  # of the oldest answer


def total_load(loads: Sequence[PodLoad], tiers: Sequence[Tier]) -> ServiceLoad:
    """Sum over pods; a tier that no pod has seen is zero."""
    gpus = sum(load.gpus for load in loads)
    busy = sum(load.busy * load.gpus for load in loads) / gpus if gpus else 0.0
    return ServiceLoad(
        gpus=Gpus(gpus),
        busy=Share(busy),
        done=UnitsPerSecond(sum(load.done for load in loads)),
        offered={tier.name: UnitsPerSecond(_offered(loads, tier.name)) for tier in tiers},
        swings=sum(_swings(loads, tier.name) for tier in tiers),
        waiting={tier.name: Units(_waiting(loads, tier.name)) for tier in tiers},
        for_gpu={tier.name: _for_gpu(loads, tier.name) for tier in tiers},
        age=Seconds(max((load.age for load in loads), default=0.0)),
    )


def _offered(loads: Sequence[PodLoad], tier: TierName) -> float:
    return sum(load.tiers[tier].offered for load in loads if tier in load.tiers)


def _swings(loads: Sequence[PodLoad], tier: TierName) -> float:
    return sum(load.tiers[tier].swings for load in loads if tier in load.tiers)


def _waiting(loads: Sequence[PodLoad], tier: TierName) -> float:
    return sum(load.tiers[tier].waiting for load in loads if tier in load.tiers)


def _for_gpu(loads: Sequence[PodLoad], tier: TierName) -> Units | None:
    said = [load.tiers[tier].for_gpu for load in loads if tier in load.tiers]
    known = [units for units in said if units is not None]
    return Units(sum(known)) if len(known) == len(said) else None


def demand_after(before: float | None, now: float, capacity: UnitsPerSecond | None, span: Seconds) -> UnitsPerSecond:
    """A tier's demand after `span` in which `now` was offered a second."""
    clear = CLEAR_RISE * (capacity or 0.0)
    rising = DEMAND_UP if before is None or now > before + clear else DEMAND_DOWN
    return UnitsPerSecond(smoothed(before, now, (rising, DEMAND_DOWN), span))


def learned(before: Pace, load: ServiceLoad, span: Seconds, first_guess: UnitsPerSecond | None) -> Pace:
    """What one busy GPU completes in a second, learned by evidence: the image units completed in `span`.

    A mean at first, later an average over the last EVIDENCE units. The same gain up and down, so that chance does not
    pull the estimate to one side; and at any load, because only busy time counts: an estimate that was learned only
    under load could never mend itself once it was so low that the limits it led to kept the GPUs idle.
    """
    known = before if before.rate is not None else Pace(rate=first_guess, evidence=SOME_EVIDENCE)
    busy_gpus = load.busy * load.gpus
    if busy_gpus <= 0 or load.done <= 0:
        return known if known.rate is not None else before
    measured = load.done / busy_gpus
    completed = load.done * span
    if known.rate is None:
        return Pace(rate=UnitsPerSecond(measured), evidence=Units(completed)) if completed > 0 else before
    weight = completed / (known.evidence + completed)
    rate = UnitsPerSecond(known.rate + weight * (measured - known.rate))
    return Pace(rate=rate, evidence=Units(min(EVIDENCE, known.evidence + completed)))
