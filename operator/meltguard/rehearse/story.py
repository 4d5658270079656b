"""What happened, when, in the operator's own words: the mover's Events, and what changed from decision to decision."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from meltguard.adapters.event_shape import EventRecord, PostedEvent
from meltguard.controller.conditions import refused_loan
from meltguard.controller.events import EventPoster, Reason
from meltguard.controller.telling import changes
from meltguard.core.decision import Decision
from meltguard.core.policy import Level
from meltguard.core.units import Seconds
from meltguard.rehearse.clock import RehearsedClock

QUIET: Final = frozenset({Reason.EVICTION_NOTICE, Reason.NOTICE_WITHDRAWN})
"""One for each pod; what is told of the node says it all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that happened."""

    at: Seconds  # since the start
    level: Level  # of the decision before it
    reason: Reason
    text: str


@dataclass(slots=True)
class Story(EventPoster):
    """Everything that an operator would have said."""

    clock: RehearsedClock
    told: list[Told] = field(default_factory=list)
    _before: Decision | None = None
    _refused: str = ""  # the rule that kept a wanted loan back, as last told

    @override
    async def post_event(self, record: EventRecord, previous: PostedEvent | None = None) -> PostedEvent:
        """The mover says something. What it says again is kept once."""
        reason = Reason(record.reason)
        if reason not in QUIET and previous is None:
            self._tell(reason, record.message)
        count = previous.count + 1 if previous else 1
        return PostedEvent(namespace=record.regarding.namespace, name=f"e{len(self.told)}", count=count)

    def decided(self, decision: Decision, loans: int) -> None:
        """A pass has decided, with so many nodes claimed."""
        for reason, text in changes(self._before, decision):
            self._tell(reason, text, decision.level)
        self._before = decision
        refused = refused_loan(decision.rules)
        rule = refused.rule if refused is not None and not loans else ""
        if refused is not None and rule and rule != self._refused:
            self._tell(Reason.BORROWING_REFUSED, f"{refused.rule}: no, {refused.text}", decision.level)
        if rule or loans:
            self._refused = rule

    def _tell(self, reason: Reason, text: str, level: Level | None = None) -> None:
        known = level if level is not None else (self._before.level if self._before else Level.NORMAL)
        self.told.append(Told(at=self.clock.at, level=known, reason=reason, text=text))


def first(told: Sequence[Told], reason: Reason) -> Seconds | None:
    """When something was first told; None where it never was."""
    return next((one.at for one in told if one.reason is reason), None)
