"""What the next loan or order waits for, and from when on it is possible, where time alone decides that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from meltguard.core.decision import Outcome
from meltguard.core.units import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class NextMove:
    """What must change first."""

    waits_for: str  # the answer of a rule; "" where none says no
    at: Instant | None = None  # at the earliest; None: no clock tells


def next_move(rules: Sequence[Outcome]) -> NextMove:
    """Of all the ways to a node that are closed, the one that opens first.

    A rule that closes every way at once must hold before any: two rests of 60 and 90 s are over after 90 s, two
    lenders whose windows open at six and at eight lend from six.
    """
    refused = [rule for rule in rules if not rule.holds]
    closed: dict[str, list[Outcome]] = {}
    for rule in refused:
        closed.setdefault(rule.way, []).append(rule)
    everywhere = closed.pop("", [])
    if everywhere or not closed:
        return _over(everywhere)
    return min((_over(way) for way in closed.values()), key=_first)


def _over(refused: Sequence[Outcome]) -> NextMove:
    """When all of these hold; the one that takes longest is named."""
    if not refused:
        return NextMove(waits_for="")
    longest = max(refused, key=_until)
    return NextMove(waits_for=longest.text, at=longest.until)


def _until(rule: Outcome) -> float:
    return math.inf if rule.until is None else rule.until


def _first(move: NextMove) -> float:
    return math.inf if move.at is None else move.at
