"""The pods of an update: which there are, how many there may be next, and how they go if it is dearer."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.core.rollout_state import Resize, RolloutWrite
from meltguard.core.seen import PodRevision, RolloutView, Snapshot, TrialMark
from meltguard.core.units import Instant, Percent, PodUid, Seconds

SHARES: Final = (Percent(10), Percent(50))
"""Of the pods, after the first one, at which an update is held and compared again before it goes on to all."""

START_LIMIT: Final = Seconds(1800.0)
"""A pod of a new revision that is not Ready after this long is taken back: models are large, but not without end."""

Pods = Mapping[PodUid, PodRevision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The service's pods, Ready or not, by what they run."""

    new: Pods
    old: Pods

    @classmethod
    def of(cls, seen: Snapshot, trial: TrialMark) -> "Sides":
        """New is what did not serve before the trial."""
        new = {uid: one for uid, one in seen.revisions.items() if one.revision not in trial.before}
        return cls(new=new, old={uid: one for uid, one in seen.revisions.items() if uid not in new})

    def late(self, seen: Snapshot, since: Instant, now: Instant) -> bool:
        """Whether a pod of the update takes longer to be Ready than anybody waits for."""
        begun = [max(since, seen.started.get(uid, since)) for uid, one in self.new.items() if not one.ready]
        return any(now - at > START_LIMIT for at in begun)


def next_share(pods: int, replicas: int) -> int | None:
    """How many pods are to run the update after so many; None: all of them.

    Rounds down, so that at a share that is held no more pods run the update than do not: from there each can be taken
    back for itself.
    >>> [next_share(pods, 20) for pods in (1, 2, 10)], next_share(1, 5), next_share(1, 3)
    ([2, 10, None], 2, None)
    """
    wider = (replicas * share // 100 for share in SHARES)
    return next((count for count in wider if pods < count), None)


def a_tenth(replicas: int) -> int:
    """Pods that are replaced at a time, as the strategy of a trial says: what is gone serves nobody."""
    return max(1, replicas // 10)


def taken_back(view: RolloutView, sides: Sides) -> tuple[RolloutWrite, Resize] | None:
    """The next step on the way back: a tenth of the pods, once those of the last step are Ready again.

    Through the ReplicaSets, for the template stays what people wrote. A Deployment that is paused keeps the sum of its
    pods by adding to, or taking from, its largest ReplicaSet: so where more pods run the update than do not, theirs
    shrinks as the other grows; else it shrinks by itself, and always below the other.
    """
    if not sides.new or not sides.old:
        return None
    unready = sum(not one.ready for one in sides.new.values())
    moving = any(not one.ready for one in sides.old.values()) or len(sides.new) + len(sides.old) < view.replicas
    if moving and not unready:
        return None
    step = max(a_tenth(view.replicas), unready)
    update, runs = _largest(sides.new)
    before, serve = _largest(sides.old)
    if runs > serve + step:
        return RolloutWrite.PUT_BACK, Resize(replica_set=before, pods=serve + step)
    return RolloutWrite.TAKE_BACK, Resize(replica_set=update, pods=max(0, min(runs - step, serve - 1)))


def _largest(pods: Pods) -> tuple[str, int]:
    counts = Counter(one.replica_set for one in pods.values())
    return max(counts.items(), key=lambda item: (item[1], item[0]))
