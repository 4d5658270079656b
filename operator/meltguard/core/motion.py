"""How a tier's limit moves from where it is to where the budget wants it: seldom, slowly up, down as fast as needed."""

from dataclasses import dataclass
from typing import Final

from meltguard.core.limits import FILL, TierNeed, asked, rest
from meltguard.core.units import Seconds, UnitsPerSecond

STILL = 0.03
"""A limit stays while it is nearer than this share of the budget to where it should be: chance moves nothing."""

STEP_SHARE, STEP_OF_BUDGET = 0.10, 0.02
"""A limit moves by at most this share of itself, or of the budget, whichever is more, in one step of the law."""

RISE_OF_IDLE = 1.0
"""It may also rise by this share of what idle GPUs could do."""

AT_ONCE, HASTE = 2.0, 10.0
"""What waits for GPUs, in wait targets, from which a limit falls at once; below, a target too long is ten steps."""

MUCH_IDLE = 0.2
"""What stands idle, as a share of the budget, for which a limit turns up at once; half of it halves the rest."""

LIFT_ABOVE_DEMAND = 1.25
"""A limit that stands this far above its tier's demand is lifted."""

FREE_BELOW = 0.9
"""No limit begins while demand is below this share of the budget."""


NOTHING: Final = UnitsPerSecond(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """What bounds one move of one tier's limit."""

    steps: float  # of the law, since the last decision
    budget: UnitsPerSecond
    demand: UnitsPerSecond  # of all tiers
    idle: UnitsPerSecond  # what idle GPUs could do
    own_wait: float | None  # seconds, of what waits in this tier and those above; None: capacity is not known
    gpu_wait: float | None  # seconds, of what waits for GPUs
    target: Seconds
    rising: bool = True  # the way the limit last moved
    turned_ago: Seconds | None = None  # since it moved the other way; None: it never moved
    pressed: bool = True  # the level is above Normal: features and updates have given way already
    leaves: UnitsPerSecond = NOTHING  # what GPUs on nodes that go home do still; the budget is without it

    @property
    def is_foretold(self) -> bool:
        """Capacity is about to go. Whoever waits for the queue that this will make tightens too late."""
        return self.leaves > 0

    @property
    def may_rise(self) -> bool:
        """A limit that turned down does not turn up again for a while; the more GPUs idle, the sooner."""
        return self.rising or self._rested(self.idle / (MUCH_IDLE * self.budget) if self.budget > 0 else 0.0)

    @property
    def rests_for(self) -> Seconds:
        """How much longer a limit that turned stays, at the most."""
        return Seconds(0.0 if self.turned_ago is None else max(0.0, rest(self.target) - self.turned_ago))

    @property
    def may_fall(self) -> bool:
        """A limit that turned up does not turn down again for a while; the longer GPUs are waited for, the sooner."""
        if not self.rising or self.gpu_wait is None or self.is_foretold:
            return True
        return self._rested((self.gpu_wait / self.target - 1.0) / (AT_ONCE - 1.0))

    def _rested(self, urgency: float) -> bool:
        """Whether the last turn is long enough ago; `urgency` 0 asks for the whole rest, 1 for none."""
        return self.turned_ago is None or self.turned_ago >= rest(self.target) * (1.0 - min(1.0, max(0.0, urgency)))


def moved(
    before: UnitsPerSecond | None, wanted: UnitsPerSecond | None, need: TierNeed, motion: Motion
) -> UnitsPerSecond | None:
    """The limit that follows `before` on the way to `wanted`; None is no limit.

    A limit begins, or falls, only while requests of at least its tier's priority wait: so an old reading can never cut
    the paid tiers first, for in a pod their requests go first and wait little. Where nodes are about to leave nothing
    waits yet: a limit is then at once what it will have to be.
    """
    if before is None:
        return wanted if _begins(motion) else None
    if wanted is None and motion.may_rise:
        risen = before + _rise(before, motion)
        return None if risen >= LIFT_ABOVE_DEMAND * asked(need) else UnitsPerSecond(risen)
    still = STILL * motion.budget
    if wanted is not None and wanted > before + still and motion.may_rise:
        return UnitsPerSecond(min(wanted - still, before + _rise(before, motion)))
    if wanted is not None and wanted < before - still and motion.may_fall:
        return UnitsPerSecond(max(wanted + still, before - _fall(before, motion)))
    return before


def _begins(motion: Motion) -> bool:
    """A service that is asked for less than nine tenths of its budget limits nobody anew, nor one at level Normal."""
    waits = motion.own_wait is None or motion.own_wait > motion.target
    due = motion.is_foretold or (waits and motion.pressed and motion.may_fall)
    return due and motion.demand >= FREE_BELOW * motion.budget


def _step(before: float, motion: Motion) -> float:
    grown = before * float((1.0 + STEP_SHARE) ** motion.steps - 1.0)
    return max(grown, STEP_OF_BUDGET * motion.budget * motion.steps)


def _rise(before: float, motion: Motion) -> float:
    return max(_step(before, motion), RISE_OF_IDLE * motion.idle * motion.steps)


def _fall(before: float, motion: Motion) -> float:
    """In steps while its own line is long, the faster the longer what waits for GPUs; at once from twice the target."""
    if motion.is_foretold:
        return before
    if motion.own_wait is not None and motion.own_wait <= FILL * motion.target:
        return 0.0
    late = AT_ONCE if motion.gpu_wait is None else motion.gpu_wait / motion.target
    return before if late >= AT_ONCE else _step(before, motion) * max(1.0, HASTE * (late - 1.0))
