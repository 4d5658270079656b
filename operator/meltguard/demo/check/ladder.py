"""The measures in the order in which they came and went, from what the operator told the API server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from meltguard.core.fleet import ASKED_AT_ANNOTATION, SAVED_AT_ANNOTATION
from meltguard.core.units import Instant
from meltguard.demo.check.audit import Write
from meltguard.demo.check.pods import accepted_evictions
from meltguard.demo.check.policy import Told, first

LOWEST_FIRST: Final = ("free", "plus", "pro")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """When each measure began and ended; None where it did not."""

    feature_slowed: Instant | None
    feature_restored: Instant | None
    updates_held: Instant | None
    updates_resumed: Instant | None
    update_tried: Instant | None  # on one pod
    first_limits: dict[str, Instant]  # by tier
    limits_lifted: Instant | None  # of every tier, for the last time
    override_began: Instant | None
    override_ended: Instant | None
    first_eviction: Instant | None  # of the lender's work
    next_term: Instant | None  # a later epoch than the first said something


def ladder(statuses: Sequence[Told], writes: Sequence[Write], who: tuple[str, str]) -> Ladder:
    """The milestones; `who` is (the operator's user name, the lender's namespace)."""
    slowed = first(statuses, lambda one: one.slowed)
    held = first(statuses, _held)
    began = first(statuses, lambda one: bool(one.status.overrides))
    epoch = statuses[0].status.epoch if statuses else 0
    limits = {tier: _first_limit(statuses, tier) for tier in LOWEST_FIRST}
    return Ladder(
        feature_slowed=slowed,
        feature_restored=_after(slowed, statuses, lambda one: not one.slowed),
        updates_held=held,
        updates_resumed=_after(held, statuses, _free),
        update_tried=first(statuses, lambda one: one.status.rollouts.state == "Trying"),
        first_limits={tier: at for tier, at in limits.items() if at is not None},
        limits_lifted=_after(min(filter(None, limits.values()), default=None), statuses, _open),
        override_began=began,
        override_ended=_after(began, statuses, lambda one: not one.status.overrides),
        first_eviction=min((one.at for one in evictions(writes, who)), default=None),
        next_term=first(statuses, lambda one: one.status.epoch > epoch),
    )


def _first_limit(statuses: Sequence[Told], tier: str) -> Instant | None:
    return first(statuses, lambda one: one.limit(tier).state != "Open")


def _open(one: Told) -> bool:
    return all(one.limit(tier).state == "Open" for tier in LOWEST_FIRST)


def _held(one: Told) -> bool:
    return one.status.rollouts.state == "Held"


def _free(one: Told) -> bool:
    """Not while an update is tried: that is one pod of it."""
    return one.status.rollouts.state == "Free"


def _after(begin: Instant | None, statuses: Sequence[Told], holds: Callable[[Told], bool]) -> Instant | None:
    """When it last became so after it had begun."""
    if begin is None or not statuses or not holds(statuses[-1]):
        return None
    turned = [later.at for earlier, later in pairwise(statuses) if holds(later) and not holds(earlier)]
    return max((at for at in turned if at > begin), default=None)


def evictions(writes: Sequence[Write], who: tuple[str, str]) -> tuple[Write, ...]:
    """The operator's granted evictions in the lender's namespace."""
    identity, namespace = who
    return tuple(one for one in accepted_evictions(writes) if one.user == identity and one.ref.namespace == namespace)


def evicted_untold(writes: Sequence[Write], who: tuple[str, str]) -> tuple[str, ...]:
    """Pods of the lender that were evicted without having been told before, as sentences."""
    told: dict[str, Instant] = {}
    for one in writes:
        if one.about("pods") and one.accepted and ASKED_AT_ANNOTATION.encode() in one.asked:
            told.setdefault(one.ref.name, one.at)
    return tuple(
        f"{one.ref.namespace}/{one.ref.name} was evicted without a notice"
        for one in evictions(writes, who)
        if one.ref.name not in told or told[one.ref.name] >= one.at
    )


def evicted_saved(writes: Sequence[Write], who: tuple[str, str]) -> int:
    """Pods of the lender that said that their work is saved before they were evicted."""
    saved: dict[str, Instant] = {}
    for one in writes:
        if one.about("pods") and one.accepted and SAVED_AT_ANNOTATION.encode() in one.asked:
            saved.setdefault(one.ref.name, one.at)
    gone = {one.ref.name: one.at for one in evictions(writes, who)}
    return sum(name in saved and saved[name] <= at for name, at in gone.items())
