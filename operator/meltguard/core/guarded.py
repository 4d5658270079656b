"""What guards each pod, found without looking at every budget and every Job of the cluster."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from meltguard.core.fleet import Budget, Guards, Job, PodView

Key = tuple[str, str, str]
"""(namespace, label, its value); two empty texts for a budget that asks for no label's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """Guards, by what they guard: for one look at many nodes, made once."""

    budgets: Mapping[Key, tuple[tuple[int, Budget], ...]]  # each with its place among all
    jobs: Mapping[str, Job]  # by uid
    pledged: tuple[PodView, ...]  # pods on other nodes that open moves will evict

    @classmethod
    def by(cls, guards: Guards) -> Self:
        """The same guards; of two Jobs of one uid the first counts."""
        budgets: defaultdict[Key, list[tuple[int, Budget]]] = defaultdict(list)
        for place, budget in enumerate(guards.budgets):
            budgets[_key(budget)].append((place, budget))
        return cls(
            budgets={key: tuple(found) for key, found in budgets.items()},
            jobs={job.uid: job for job in reversed(guards.jobs)},
            pledged=guards.pledged,
        )

    def pledging(self, pods: Iterable[PodView]) -> Self:
        """The same where these pods will be evicted too."""
        return replace(self, pledged=(*self.pledged, *pods))

    def budgets_of(self, pod: PodView) -> tuple[Budget, ...]:
        """The budgets that mean the pod, in the order in which they were read."""
        keys = [(pod.namespace, "", ""), *((pod.namespace, label, value) for label, value in pod.labels.items())]
        near = [one for key in keys for one in self.budgets.get(key, ())]
        return tuple(budget for _, budget in sorted(near, key=_place) if is_meant(budget, pod))

    def job_of(self, pod: PodView) -> Job | None:
        """The Job that owns a pod; None where none does, or none is known."""
        return self.jobs.get(pod.owner_uid) if pod.owner_kind == "Job" else None


def is_meant(budget: Budget, pod: PodView) -> bool:
    """Whether a budget counts this pod."""
    selector = budget.selector
    return budget.namespace == pod.namespace and selector is not None and selector.matches(pod.labels)


def _key(budget: Budget) -> Key:
    """Every pod that it means has this label, so that only they come upon it."""
    labels = budget.selector.labels if budget.selector is not None else {}
    label, value = next(iter(labels.items()), ("", ""))
    return (budget.namespace, label, value)


def _place(found: tuple[int, Budget]) -> int:
    return found[0]
