"""What an update costs against the revisions before it, in the same seconds and on GPUs of the same model.

The test of `core.trial` goes on counting while the update goes from one share of the pods to the next. Beside it each
share has a count of its own: what was true of one pod is not taken to be true of half of them.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.trial import MOST, NO_PAIRS, Tally, Verdict, verdict
from meltguard.core.units import UnitsPerSecond

SAMPLE: Final = 4.0
"""Image units that one sample is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """GPU time, and the images that it made."""

    busy: float = 0.0  # GPU-seconds
    done: float = 0.0  # image units

    def plus(self, other: "Spent") -> "Spent":
        """Both together."""
        return Spent(busy=self.busy + other.busy, done=self.done + other.done)

    def since(self, before: "Spent") -> "Spent":
        """What came on top of `before`."""
        return Spent(busy=max(0.0, self.busy - before.busy), done=max(0.0, self.done - before.done))

    @property
    def is_sample(self) -> bool:
        """Whether it is enough to compare."""
        return self.done >= SAMPLE and self.busy > 0.0

    @property
    def rate(self) -> UnitsPerSecond | None:
        """Image units per GPU-second; None where nothing was done."""
        return UnitsPerSecond(self.done / self.busy) if self.busy > 0.0 else None


NOTHING: Final = Spent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a trial has found so far."""

    whole: Tally = NO_PAIRS  # since its first pod
    here: Tally = NO_PAIRS  # at the share of the pods that run the update now
    spent: tuple[tuple[str, Spent], ...] = ()  # by revision: what its images cost meanwhile

    def with_pair(self, new: Spent, old: Spent) -> "Compared":
        """One more pair."""
        costs = (new.busy / new.done, old.busy / old.done)
        return replace(self, whole=self.whole.with_pair(*costs), here=self.here.with_pair(*costs))

    def rates(self, before: Collection[str]) -> tuple[UnitsPerSecond | None, UnitsPerSecond | None]:
        """Image units per GPU-second: of the update, and of the revisions before it."""
        new, old = NOTHING, NOTHING
        for revision, spent in self.spent:
            if revision in before:
                old = old.plus(spent)
            else:
                new = new.plus(spent)
        return (new.rate, old.rate)


def verdict_at(found: Compared, by: float) -> Verdict:
    """What is certain at this share of the pods.

    Cheaper is what is surely cheaper in the whole trial, and surely not dearer at this share. Dearer is what is surely
    dearer in either count.
    """
    whole, here = verdict(found.whole, by), verdict(found.here, by)
    if Verdict.DEARER in {whole, here}:
        return Verdict.DEARER
    _, _, most = found.here.change
    if whole is Verdict.CHEAPER and most < by:
        return Verdict.CHEAPER
    return Verdict.EQUAL if whole is Verdict.EQUAL or found.here.count >= MOST else Verdict.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one pod has spent since its agent began."""

    agent: str  # its instance: one that starts anew is another
    revision: str
    model: str  # of its GPUs
    is_new: bool
    spent: Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The samples of a trial as they come in: what each pod had spent when it last gave one."""

    found: Compared = Compared()
    last: tuple[tuple[str, Spent], ...] = ()  # by agent
    old: tuple[tuple[str, Spent], ...] = ()  # by model: of the revisions before, not yet paired

    def at_new_share(self) -> "Comparison":
        """Another share of the pods runs the update: the share's own count begins."""
        return replace(self, found=replace(self.found, here=NO_PAIRS))

    def after(self, samples: Iterable[Sample]) -> "Comparison":
        """With what the pods have spent by now; at most one pair a new pod, with old ones of its model."""
        running = _Running(self)
        for one in sorted(samples, key=lambda sample: sample.is_new):  # the old first: they are what is paired with
            running.take(one)
        return running.sums()


class _Running:
    """A comparison while samples are added to it."""

    def __init__(self, before: Comparison) -> None:
        self._last = dict(before.last)
        self._kept: dict[str, Spent] = {}
        self._old = dict(before.old)
        self._spent = dict(before.found.spent)
        self._found = before.found

    def take(self, one: Sample) -> None:
        """Count one pod."""
        before = self._last.get(one.agent)
        gained = one.spent.since(before) if before is not None else NOTHING
        if not one.is_new:
            self._kept[one.agent] = one.spent
            self._old[one.model] = self._old.get(one.model, NOTHING).plus(gained)
            self._count(one.revision, gained)
            return
        old = self._old.get(one.model, NOTHING)
        ripe = gained.is_sample and old.is_sample
        self._kept[one.agent] = one.spent if ripe or before is None else before
        if ripe:
            self._found = self._found.with_pair(gained, old)
            self._old[one.model] = NOTHING
            self._count(one.revision, gained)

    def _count(self, revision: str, gained: Spent) -> None:
        self._spent[revision] = self._spent.get(revision, NOTHING).plus(gained)

    def sums(self) -> Comparison:
        """As it stands now."""
        found = replace(self._found, spent=tuple(self._spent.items()))
        return Comparison(found=found, last=tuple(self._kept.items()), old=tuple(self._old.items()))
