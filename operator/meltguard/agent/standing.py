"""What holds at this moment: the limits in force and the document that they come from. Values and pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meltguard.agent.settings import Pace
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import LimitDocument, PolicyRef, SlowedFeature, TierLimit, TierState
from meltguard.core.lapsed import ramped
from meltguard.core.units import Seconds, Share, TierName, UnitsPerSecond

RAMP_STEP: Final = Seconds(1.0)  # how often a ramp is computed anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The limits in force."""

    source: LimitSource
    tiers: Mapping[str, TierLimit]
    fallback: TierLimit  # for a tier that the document does not know
    policy: PolicyRef | None = None
    epoch: int = 0
    revision: int = 0
    features: Mapping[str, int] = field(default_factory=dict)  # percentage of users who have each
    slowed: Mapping[str, SlowedFeature] = field(default_factory=dict)  # those that fewer have than usual, and why
    level: str = ""
    heat: Share = Share(1.0)  # what it leaves of the GPUs, as far as the operator knows
    observing: bool = False  # count what would be refused, refuse nothing
    until: Seconds | None = None  # ask again then, on the clock that never jumps
    lease_until: Seconds | None = None

    def rule(self, tier: TierName) -> TierLimit:
        """The limits of a tier; an unknown tier gets the default tier's, or the least important one's."""
        return self.tiers.get(tier, self.fallback)

    def same_document(self, other: "Standing") -> bool:
        """Whether the same document from the same source is in force."""
        return (self.source, self.epoch, self.revision, self.policy, self.observing) == (
            other.source,
            other.epoch,
            other.revision,
            other.policy,
            other.observing,
        )


def own_gpu(default_tier: TierName, pace: Pace) -> Standing:
    """Nothing is known: one tier, no rate, as many waiting as this pod alone can bear."""
    rule = TierLimit(name=default_tier, queue=pace.own_queue, max_wait=pace.own_max_wait)
    return Standing(source=LimitSource.OWN_GPU, tiers={default_tier: rule}, fallback=rule)


def by_tier(
    limits: tuple[TierLimit, ...], default_tier: TierName, pace: Pace
) -> tuple[dict[str, TierLimit], TierLimit]:
    """The limits by name, and the limit of those whom the document does not know."""
    tiers = {limit.name: limit for limit in limits}
    if not tiers:
        alone = own_gpu(default_tier, pace)
        return dict(alone.tiers), alone.fallback
    least = min(tiers.values(), key=lambda limit: limit.priority)
    return tiers, tiers.get(default_tier, least)


def baseline_limits(document: LimitDocument, waited: Seconds, pace: Pace) -> tuple[TierLimit, ...]:
    """What the baseline lets this pod admit, `waited` seconds after the last lease ended.

    First the safe rates; after `baseline_hold` they grow to the tiers' maxima over `baseline_ramp`.
    """
    progress = min(1.0, max(0.0, (waited - pace.baseline_hold) / pace.baseline_ramp))
    return tuple(_baseline_limit(limit, document.pods, progress) for limit in document.tiers)


def _baseline_limit(limit: TierLimit, pods: int, progress: float) -> TierLimit:
    share = None if limit.max_rate is None else UnitsPerSecond(limit.max_rate / pods)
    safe = None if limit.safe_rate is None else UnitsPerSecond(limit.safe_rate)
    rate = ramped(safe, share, progress)
    state = TierState.DELAY if rate is not None and limit.state is TierState.OPEN else limit.state
    return limit.model_copy(update={"rate": rate, "max_rate": share, "state": state})
