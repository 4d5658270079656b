"""What becomes of a service's updates, and what is to be written for it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from meltguard.core.seen import TrialMark
from meltguard.core.trial import Tally
from meltguard.core.units import Instant


class RolloutState(StrEnum):
    """What happens to updates of the service."""

    FREE = "Free"
    HELD = "Held"  # by us; what waits goes on afterwards
    TRYING = "Trying"  # held, but for one pod of the new revision
    PROMOTED = "Promoted"  # it goes on although others would wait: an image costs less
    LEFT_ALONE = "LeftAlone"  # someone else's word stands above ours
    UNKNOWN = "Unknown"  # the workload could not be read, or cannot be held


class RolloutWrite(StrEnum):
    """What to write to the workload."""

    HOLD = "Hold"
    RESUME = "Resume"
    FORGET = "Forget"  # someone resumed it themselves: only our mark goes
    TRY = "Try"  # let one pod of the new revision start
    JUDGE = "Judge"  # it has started: nothing more follows while it is judged
    PROMOTE = "Promote"  # let the update go on
    REFUSE = "Refuse"  # nothing more of it starts, and what there is goes
    LEVEL = "Level"  # it makes no difference: it waits
    TAKE_BACK = "TakeBack"  # a refused revision's pods go


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Updates of the service, in the decision's words."""

    state: RolloutState
    since: Instant | None = None
    cause: str = ""
    lifts_when: str = ""
    write: RolloutWrite | None = None
    trial: TrialMark | None = None  # as it is to be written, or stands written
    replica_set: str = ""  # whose pods are taken back
    counted: Tally | None = None  # of the trial; None: there is none


RESUMED: Final = "someone resumed it meanwhile; it is held again only after the level has fallen"


def left_alone(why: str) -> Rollouts:
    """Someone else's word stands above ours."""
    return Rollouts(state=RolloutState.LEFT_ALONE, cause=f"the rollout is left alone: {why}")
