"""What the operator decided, in its own words: every entry that a status's history ever had."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from meltguard.clock import parse_rfc3339
from meltguard.core.units import Instant
from meltguard.demo.check.nodes import Move
from meltguard.demo.check.policy import Entry, Told

WITHIN_ITS_SECOND: Final = 0.999
"""An entry's own time is cut to the second; the status that first bore it was written at that time or later."""

BORROWED: Final = "NodeBorrowed"
PLAN: Final = re.compile(r"(?P<node>\S+) of pool \S+ (?P<relief>relieves .*)")

STEPS: Final[Mapping[str, Callable[[Move], Instant | None]]] = {
    BORROWED: attrgetter("claimed"),
    "NodeLent": attrgetter("schedulable"),
    "NodeRecalled": attrgetter("recalled"),
    "NodeReturned": attrgetter("released"),
    "LoanEnded": attrgetter("released"),
}
"""When a move took the step that a decision tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One decision."""

    at: Instant
    reason: str  # as its Event is called
    text: str  # the operator's words
    level: str  # of the service, when it was told


def decisions(statuses: Sequence[Told], moves: Sequence[Move] = ()) -> tuple[Decided, ...]:
    """All that changed, the oldest first; a loan also with what it was to relieve.

    A loan's steps are written on its node first, and told in the status a decision later: the node's time counts.
    """
    return tuple(sorted((_stepped(one, moves) for one in _decisions(statuses)), key=_time))


def _time(one: Decided) -> Instant:
    return one.at


def _stepped(one: Decided, moves: Sequence[Move]) -> Decided:
    """With the time of the last such step of its node that was not later."""
    step = STEPS.get(one.reason)
    if step is None:
        return one
    words = one.text.split()
    times = (step(move) for move in moves if move.node in words)
    return replace(one, at=max((at for at in times if at is not None and at <= one.at), default=one.at))


def _decisions(statuses: Sequence[Told]) -> Iterator[Decided]:
    known: frozenset[Entry] = frozenset()
    plans: dict[str, str] = {}
    for one in statuses:
        plans |= _plans(one)
        fresh = [entry for entry in one.status.history if entry not in known]
        known = frozenset(one.status.history)
        for entry in reversed(fresh):
            at = Instant(min(one.at, parse_rfc3339(entry.at) + WITHIN_ITS_SECOND))
            made = Decided(at=at, reason=entry.reason, text=entry.text, level=one.status.level or "?")
            yield _with_plan(made, plans) if entry.reason == BORROWED else made


def _plans(one: Told) -> dict[str, str]:
    """What each node that was to be borrowed would relieve, by node, from the rules' answers."""
    found = (PLAN.match(part) for rule in one.status.decision.rules for part in rule.text.split("; "))
    return {match["node"]: match["relief"] for match in found if match is not None}


def _with_plan(made: Decided, plans: Mapping[str, str]) -> Decided:
    plan = plans.get(made.text.split(" ", 1)[0])
    return made if plan is None else replace(made, text=f"{made.text}: it {plan}")


def first_of(found: Iterable[Decided], reason: str, about: str = "") -> Decided | None:
    """The first decision of a kind whose words begin with `about`; None where there is none."""
    return next((one for one in found if one.reason == reason and one.text.startswith(about)), None)


def last_of(found: Sequence[Decided], reason: str, about: str = "") -> Decided | None:
    """The last one of a kind."""
    return first_of(reversed(found), reason, about)
