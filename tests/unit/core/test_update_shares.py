"""Share by share, and back a tenth at a time, by the rule with which a paused Deployment keeps its pods' sum."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.rollout_state import RolloutWrite
from meltguard.core.seen import PodRevision, RolloutView
from meltguard.core.units import PodUid
from meltguard.core.update_shares import Sides, a_tenth, next_share, taken_back

VIEW = RolloutView(paused=True, mark=None)


def pods(revision: str, ready: int, unready: int = 0) -> dict[PodUid, PodRevision]:
    return {
        PodUid(f"{revision}-{n}"): PodRevision(revision=revision, replica_set=f"web-{revision}", ready=n < ready)
        for n in range(ready + unready)
    }


@pytest.mark.parametrize(
    ("replicas", "held"),
    [(2, [1]), (3, [1]), (4, [1, 2]), (5, [1, 2]), (10, [1, 5]), (20, [1, 2, 10]), (100, [1, 10, 50])],
)
def test_the_shares_at_which_it_is_held(replicas: int, held: list[int]) -> None:
    found, wider = [], 1
    while wider is not None:
        found.append(wider)
        wider = next_share(found[-1], replicas)  # type: ignore[assignment] # None ends it
    assert found == held
    assert all(2 * count <= replicas for count in found), "more pods run it than do not"


@dataclass(frozen=True)
class Deployment:
    """A paused one of two ReplicaSets: what it does to keep its sum (deployment/sync.go, scale)."""

    replicas: int
    new: int
    old: int

    def settled(self) -> "Deployment":
        """After its controller's pass."""
        missing = self.replicas - self.new - self.old
        if not self.new or not self.old:
            return replace(self, new=self.replicas if self.new else 0, old=self.replicas if self.old else 0)
        alike = "new" if missing > 0 else "old"  # what grows then, and what shrinks
        largest = alike if self.new == self.old else ("new" if self.new > self.old else "old")
        return replace(self, **{largest: getattr(self, largest) + missing})

    def stepped(self) -> "Deployment":
        """After one step back; the pods of the last one are Ready."""
        view = replace(VIEW, replicas=self.replicas)
        step = taken_back(view, Sides(new=pods("new", self.new), old=pods("old", self.old)))
        assert step is not None
        write, resize = step
        side = "new" if write is RolloutWrite.TAKE_BACK else "old"
        assert resize.replica_set == f"web-{side}"
        return replace(self, **{side: resize.pods}).settled()


@given(st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))))
def test_whatever_share_runs_it_all_of_it_goes_and_never_many_pods_at_once(sizes: tuple[int, int]) -> None:
    replicas, new = sizes
    now = Deployment(replicas=replicas, new=new, old=replicas - new)
    for _ in range(replicas):
        if not now.new:
            break
        after = now.stepped()
        turning = 1 if now.new > now.old else 0  # once, where the larger side changes
        assert 0 < now.new - after.new <= a_tenth(replicas) + turning
        assert after.new + after.old == replicas
        now = after
    assert (now.new, now.old) == (0, replicas)


def test_no_step_follows_before_the_pods_of_the_last_one_are_ready() -> None:
    view = replace(VIEW, replicas=10)
    assert taken_back(view, Sides(new=pods("new", 4), old=pods("old", 5, unready=1))) is None
    assert taken_back(view, Sides(new=pods("new", 4), old=pods("old", 5))) is None, "one is not made yet"
    assert taken_back(view, Sides(new=pods("new", 4), old=pods("old", 6))) is not None


def test_pods_of_it_that_serve_nobody_go_at_once() -> None:
    view = replace(VIEW, replicas=20)
    step = taken_back(view, Sides(new=pods("new", 2, unready=5), old=pods("old", 13)))
    assert step is not None
    assert step[1].pods == 2


def test_where_nothing_else_runs_nothing_is_taken_back() -> None:
    view = replace(VIEW, replicas=2)
    assert taken_back(view, Sides(new=pods("new", 2), old={})) is None
    assert taken_back(view, Sides(new={}, old=pods("old", 2))) is None
