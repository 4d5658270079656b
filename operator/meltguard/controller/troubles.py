"""Which lasting troubles of a policy were told: a condition's change is news once, and only when it lasts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from meltguard.api.conditions import Condition, ConditionStatus
from meltguard.clock import parse_rfc3339
from meltguard.controller.events import Reason
from meltguard.controller.telling import Said
from meltguard.core.units import Instant, Seconds

LASTING: Final = Seconds(30.0)
"""A sample that is late once, or a pod that starts, is no news."""

WELL: Final[Mapping[str, ConditionStatus]] = {
    "MetricsAvailable": ConditionStatus.TRUE,
    "QuotasCounted": ConditionStatus.TRUE,
    "Stalled": ConditionStatus.FALSE,
}
"""The conditions that are told, and how each should be; the others change with every decision, which is told itself."""

BEGINS: Final[Mapping[str, Reason]] = {
    "MetricsAvailable": Reason.METRICS_UNKNOWN,
    "QuotasCounted": Reason.QUOTAS_NOT_COUNTED,
    "Stalled": Reason.STALLED,
}
ENDS: Final[Mapping[str, Reason]] = {
    "MetricsAvailable": Reason.METRICS_KNOWN,
    "QuotasCounted": Reason.QUOTAS_COUNTED,
    "Stalled": Reason.PROGRESSING,
}
TOLD: Final = frozenset({*BEGINS.values(), *ENDS.values(), Reason.SCALE_CONFLICT})


class TroubleBook:
    """One policy's troubles that were told, by the condition's type: what each was called."""

    def __init__(self, before: Sequence[Condition], at: Instant) -> None:
        """What lasted already in the status that was found was told by the process before this one."""
        self._told = {one.type: one.reason for one in _lasting(before, at)}

    def news(self, conditions: Sequence[Condition], at: Instant) -> tuple[Said, ...]:
        """What began, became another trouble, or ended, since the last time."""
        return tuple(self._news(conditions, at))

    def _news(self, conditions: Sequence[Condition], at: Instant) -> Iterator[Said]:
        for one in _lasting(conditions, at):
            if self._told.get(one.type) != one.reason:
                self._told[one.type] = one.reason
                yield _begin_of(one), one.message
        for one in conditions:
            if one.status is WELL.get(one.type) and self._told.pop(one.type, None) is not None:
                yield ENDS[one.type], one.message


def _lasting(conditions: Sequence[Condition], at: Instant) -> Iterator[Condition]:
    for one in conditions:
        well = WELL.get(one.type)
        if well is not None and one.status is not well and at - parse_rfc3339(one.last_transition_time) >= LASTING:
            yield one


def _begin_of(one: Condition) -> Reason:
    return Reason.SCALE_CONFLICT if one.reason == "ScaleConflict" else BEGINS[one.type]
