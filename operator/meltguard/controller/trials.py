"""Counts what an image costs the pods on which an update is tried, and what it costs the others meanwhile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from meltguard.controller.agents import AgentBook
from meltguard.core.comparison import Compared, Comparison, Sample, Spent
from meltguard.core.seen import Snapshot, TrialMark, TrialStage
from meltguard.core.units import NodeName, PodUid, Share

COUNTED: Final = frozenset({TrialStage.JUDGING, TrialStage.WIDENING, TrialStage.PROMOTED})


@dataclass(slots=True)
class TrialBook:
    """One service's trial. After a restart it counts on from its mark: a verdict comes later, never wrongly."""

    book: AgentBook
    _template: str = ""
    _share: tuple[TrialStage, int] | None = None
    _so_far: Comparison = field(default_factory=Comparison)

    def counted(self, seen: Snapshot, heat: Mapping[PodUid, Share]) -> Compared:
        """The pairs so far, with what the agents said since the last time.

        Like is compared with like: on GPUs of one model, none of them slowed by heat (`heat`: what it leaves of each).
        """
        mark = seen.rollout.mark if seen.rollout is not None else None
        trial = mark.trial if mark is not None else None
        if trial is None or trial.stage not in COUNTED:
            self._template = ""
            return Compared()
        if trial.template != self._template:
            self._template, self._share = trial.template, None
            self._so_far = Comparison(found=trial.found or Compared())
        if (trial.stage, trial.pods) != self._share:
            self._share = (trial.stage, trial.pods)
            self._so_far = self._so_far.at_new_share()
        samples = list(self._samples(seen, trial, heat))
        models = {one.model for one in samples if one.is_new}
        self._so_far = self._so_far.after(one for one in samples if one.model in models)
        return self._so_far.found

    def _samples(self, seen: Snapshot, trial: TrialMark, heat: Mapping[PodUid, Share]) -> Iterator[Sample]:
        models: dict[NodeName, str] = {clock.node: clock.model for clock in seen.clocks}
        for load in seen.loads:
            found, counters = seen.revisions.get(load.pod), self.book.counters(load.pod)
            if found is None or counters is None or heat.get(load.pod, 1.0) < 1.0:
                continue
            yield Sample(
                agent=counters.instance,
                revision=found.revision,
                model=f"{models.get(load.node, '')}/{seen.models.get(load.pod, '')}",
                is_new=found.revision not in trial.before,
                spent=Spent(busy=counters.busy, done=counters.done),
            )
