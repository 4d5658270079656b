"""Counts what an image costs the pod on which an update is tried, and what it costs the others meanwhile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from meltguard.controller.agents import AgentBook
from meltguard.core.seen import Snapshot, TrialMark, TrialStage
from meltguard.core.trial import Comparison, Spent, Tally
from meltguard.core.units import NodeName, PodUid, Share


@dataclass(slots=True)
class TrialBook:
    """One service's trial. After a restart it counts from nothing: a verdict comes later, never wrongly."""

    book: AgentBook
    _template: str = ""
    _so_far: Comparison = field(default_factory=Comparison)

    def counted(self, seen: Snapshot, heat: Mapping[PodUid, Share]) -> Tally:
        """The pairs so far, with what the agents said since the last time.

        Like is compared with like: on GPUs of one model, none of them slowed by heat (`heat`: what it leaves of each).
        """
        mark = seen.rollout.mark if seen.rollout is not None else None
        trial = mark.trial if mark is not None else None
        if trial is None or trial.stage is not TrialStage.JUDGING:
            self._template, self._so_far = "", Comparison()
            return Tally()
        if trial.template != self._template:
            self._template, self._so_far = trial.template, Comparison()
        new = [pod for pod in self._pods(seen, trial) if pod.is_new]
        models = {pod.model for pod in new}
        old = [pod for pod in self._pods(seen, trial) if not pod.is_new and pod.model in models]
        self._so_far = self._so_far.after(self._spent(new, heat), self._spent(old, heat))
        return self._so_far.tally

    def _pods(self, seen: Snapshot, trial: TrialMark) -> Iterator["_Pod"]:
        models: dict[NodeName, str] = {clock.node: clock.model for clock in seen.clocks}
        for load in seen.loads:
            found = seen.revisions.get(load.pod)
            if found is not None:
                is_new = found.revision not in trial.before
                model = (models.get(load.node, ""), seen.models.get(load.pod, ""))
                yield _Pod(uid=load.pod, is_new=is_new, model=model)

    def _spent(self, pods: list["_Pod"], heat: Mapping[PodUid, Share]) -> Iterator[tuple[str, Spent]]:
        for pod in pods:
            counters = self.book.counters(pod.uid)
            if counters is not None and heat.get(pod.uid, 1.0) == 1.0:
                yield counters.instance, Spent(busy=counters.busy, done=counters.done)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pod:
    uid: PodUid
    is_new: bool
    model: tuple[str, str]  # by its exporter, and by its node and what the pod asks for
