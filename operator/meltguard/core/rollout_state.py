"""What becomes of a service's updates, and what is to be written for it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from meltguard.core.comparison import Compared
from meltguard.core.seen import TrialMark
from meltguard.core.units import Instant


class RolloutState(StrEnum):
    """What happens to updates of the service."""

    FREE = "Free"
    HELD = "Held"  # by us; what waits goes on afterwards
    TRYING = "Trying"  # held, but for one pod of the new revision, or a share of the pods
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
    WIDEN = "Widen"  # let it go on, to the next share of the pods
    PROMOTE = "Promote"  # let it go on, to all pods
    REFUSE = "Refuse"  # nothing more of it starts, and what there is goes
    LEVEL = "Level"  # it makes no difference: it waits
    TAKE_BACK = "TakeBack"  # fewer pods of a refused revision; its Deployment puts others in their place
    PUT_BACK = "PutBack"  # more pods of the revision before; its Deployment takes as many of the refused one


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """A ReplicaSet, and how many pods it is to have."""

    replica_set: str
    pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Updates of the service, in the decision's words."""

    state: RolloutState
    since: Instant | None = None
    cause: str = ""
    lifts_when: str = ""
    write: RolloutWrite | None = None
    trial: TrialMark | None = None  # as it is to be written, or stands written
    resize: Resize | None = None  # what is taken, or put, back
    compared: Compared | None = None  # of the trial; None: nothing is compared now

    @property
    def figures(self) -> Compared | None:
        """Of the trial as it stands, or as its last stage found it; None where nothing was compared."""
        if self.compared is not None or self.trial is None:
            return self.compared
        return self.trial.found


RESUMED: Final = "someone resumed it meanwhile; it is held again only after the level has fallen"


def left_alone(why: str) -> Rollouts:
    """Someone else's word stands above ours."""
    return Rollouts(state=RolloutState.LEFT_ALONE, cause=f"the rollout is left alone: {why}")
