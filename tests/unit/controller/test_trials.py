"""What a trial counts: pods of one model that no heat slows; each share anew; after a restart on from its mark."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from meltguard.controller.agents import AgentBook
from meltguard.controller.trials import TrialBook
from meltguard.core.comparison import Compared
from meltguard.core.seen import GpuClock, PodRevision, RolloutMark, RolloutView, Snapshot, TrialMark, TrialStage
from meltguard.core.trial import Tally
from meltguard.core.units import Instant, NodeName, PodUid, Seconds, Share, Units
from meltguard.ports import Target
from support.core_values import FREE, a_snapshot
from support.fakes import FakeClock, FakeSink, some_counters

PODS = tuple(PodUid(f"pod-{number}") for number in range(8))
TRIAL = TrialMark(stage=TrialStage.JUDGING, template="v2", before=("old",), since=Instant(0.0), strategy="{}")


def a_seen(trial: TrialMark | None, clocks: tuple[GpuClock, ...] = ()) -> Snapshot:
    """Eight pods, the first of which runs the update."""
    mark = RolloutMark(policy="a/b", policy_uid="u", since=Instant(0.0), trial=trial)
    revisions = {
        pod: PodRevision(revision="new" if pod == PODS[0] else "old", replica_set="rs", ready=True) for pod in PODS
    }
    view = RolloutView(paused=True, mark=mark)
    return replace(a_snapshot({FREE: 4.0}), rollout=view, revisions=revisions, clocks=clocks)


@dataclass
class Ground:
    """Agents whose GPUs have worked for so many seconds, and who counts them."""

    book: AgentBook
    trials: TrialBook
    seconds: float = 0.0
    heat: dict[PodUid, Share] = field(default_factory=dict)

    def counted(self, seen: Snapshot, passes: int = 0) -> Compared:
        """After so many passes more; the update does an image in four fifths of the time."""
        found = self.trials.counted(seen, self.heat)
        for _ in range(passes):
            self.seconds += 5.0
            for pod in PODS:
                cost = 0.8 if pod == PODS[0] else 1.0
                spent = {"busy": Seconds(self.seconds), "done": Units(self.seconds / cost)}
                self.book.record(pod, replace(some_counters(pod), instance=pod, **spent))  # type: ignore[arg-type]
            found = self.trials.counted(seen, self.heat)
        return found

    def restarted(self) -> None:
        """Another process looks at them now."""
        self.trials = TrialBook(self.book)


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    book = AgentBook(FakeSink(), FakeClock(), lambda: None)
    targets = [Target(pod=pod, name=f"serving/{pod}", address="127.0.0.1", port=1) for pod in PODS]
    book.follow([(target, NodeName("gpu-01")) for target in targets])
    yield Ground(book, TrialBook(book))
    await book.close()


async def test_each_share_counts_anew_and_the_trial_as_a_whole(ground: Ground) -> None:
    found = ground.counted(a_seen(TRIAL), passes=21)
    assert (found.whole.count, found.here.count) == (20, 20)
    new, old = found.rates(("old",))
    assert new == pytest.approx(1.25)
    assert old == pytest.approx(1.0)
    wider = replace(TRIAL, stage=TrialStage.WIDENING, pods=2)
    assert ground.counted(a_seen(wider), passes=5).here.count == 5
    judged = ground.counted(a_seen(replace(wider, stage=TrialStage.JUDGING)), passes=3)
    assert (judged.whole.count, judged.here.count) == (28, 3)


async def test_after_a_restart_it_counts_on_from_its_mark(ground: Ground) -> None:
    found = ground.counted(a_seen(TRIAL), passes=21)
    ground.restarted()
    wider = replace(TRIAL, pods=2, found=found)
    after = ground.counted(a_seen(wider), passes=6)
    assert (after.whole.count, after.here.count) == (26, 6)
    ground.restarted()
    assert ground.counted(a_seen(TRIAL), passes=6).whole.count == 6, "nothing was written of the first share yet"


async def test_nothing_is_counted_where_no_trial_is(ground: Ground) -> None:
    ground.counted(a_seen(TRIAL), passes=21)
    for stage in (TrialStage.STARTING, TrialStage.REFUSED, TrialStage.EQUAL):
        assert ground.counted(a_seen(replace(TRIAL, stage=stage)), passes=3) == Compared()
    assert ground.counted(a_seen(None)) == Compared()
    assert ground.counted(a_seen(TRIAL)).whole == Tally(), "an old trial's pairs are not another's"


async def test_a_pod_that_heat_slows_or_that_has_nobody_alike_gives_no_pair(ground: Ground) -> None:
    ground.heat = {PODS[0]: Share(0.8)}
    assert ground.counted(a_seen(TRIAL), passes=21).whole.count == 0
    ground.heat = {}
    clocks = (GpuClock(node=NodeName("gpu-01"), model="same", value=1.0),)
    seen = a_seen(replace(TRIAL, template="v3"), clocks)
    first, *others = seen.loads
    elsewhere = replace(seen, loads=(replace(first, node=NodeName("gpu-09")), *others))
    assert ground.counted(elsewhere, passes=21).whole.count == 0
    assert ground.counted(seen, passes=5).whole.count == 5
