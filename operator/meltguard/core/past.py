"""The last minute of one agent's counters: enough to see one that tells too much, and one that stands still."""

from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.load import AgentCounters, PodLoad, Told, fell
from meltguard.core.units import Seconds, Units

APART: Final = Seconds(10.0)
"""One reading in so much time is kept."""

KEPT: Final = 7
"""So many of them: the last minute."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Sums at one time of the agent's own clock."""

    uptime: Seconds
    wanted: Units
    done: Units
    busy: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is kept of one agent, on its own clock."""

    last: AgentCounters
    grew: Seconds  # when a counter last grew
    marks: tuple[Mark, ...]  # the oldest first

    @property
    def still(self) -> Seconds:
        """For how long none of its counters has grown."""
        return Seconds(max(0.0, self.last.uptime - self.grew))

    @property
    def minute(self) -> Told | None:
        """What it counted since the oldest mark; None before a second reading."""
        first, last = self.marks[0], _mark(self.last)
        span = Seconds(last.uptime - first.uptime)
        if span <= 0:
            return None
        return Told(
            span=span,
            offered=Units(max(0.0, last.wanted - first.wanted)),
            done=Units(last.done - first.done),
            busy=Seconds(last.busy - first.busy),
        )


def past_after(before: Past | None, now: AgentCounters) -> Past:
    """With one reading more. An agent that restarted, or whose counters or clock fell, has no past."""
    if before is None or _starts_anew(before.last, now):
        return Past(last=now, grew=now.uptime, marks=(_mark(now),))
    grew = now.uptime if _counted(now) > _counted(before.last) else before.grew
    marks = before.marks
    if now.uptime - marks[-1].uptime >= APART:
        marks = (*marks, _mark(now))[-KEPT:]
    return Past(last=now, grew=grew, marks=marks)


def with_past(load: PodLoad, past: Past) -> PodLoad:
    """The rates of the last interval, and what the last minute adds to them."""
    return replace(load, still=past.still, minute=past.minute)


def _starts_anew(before: AgentCounters, now: AgentCounters) -> bool:
    return now.instance != before.instance or now.uptime < before.uptime or fell(before, now)


def _counted(counters: AgentCounters) -> float:
    """All that only ever grows, in one sum."""
    tiers = sum(tier.offered + tier.admitted + tier.refused for tier in counters.tiers.values())
    return tiers + counters.done + counters.busy


def _mark(counters: AgentCounters) -> Mark:
    wanted = Units(sum(tier.wanted for tier in counters.tiers.values()))
    return Mark(uptime=counters.uptime, wanted=wanted, done=counters.done, busy=counters.busy)
