"""Crash points: a SIGKILL of the operator on either side of each write of a round trip."""

from collections.abc import Sequence
from dataclasses import dataclass

from faults import world
from faults.rules import Kill, Match, Moment, Rule, Write
from faults.scenario import Case


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """SIGKILL on one side of one write."""

    label: str
    nth: int
    moment: Moment

    @property
    def name(self) -> str:
        """As reports have it."""
        return f"crash-{self.moment}-{self.label}-{self.nth}"

    @property
    def rule(self) -> Rule:
        """For the proxy."""
        return Rule(match=Match(label=self.label), act=Kill(self.moment), first=self.nth)


def points_of(writes: Sequence[Write]) -> tuple[Point, ...]:
    """Before and after each write of a fault-free run."""
    seen: dict[str, int] = {}
    made: list[Point] = []
    for write in writes:
        seen[write.label] = seen.get(write.label, 0) + 1
        made += [Point(label=write.label, nth=seen[write.label], moment=moment) for moment in Moment]
    return tuple(made)


def crashing(points: Sequence[Point], shape: world.Shape, name: str = "") -> Case:
    """A round trip with a SIGKILL at each of these points."""
    rules = tuple(point.rule for point in points)
    return Case(
        name=name or points[0].name,
        row=14,
        shape=shape,
        rules=lambda _: rules,
        lends_within=75.0 + 15.0 * len(points),
        converges=60.0 + 10.0 * (len(points) - 1),
        points=tuple(point.name for point in points),
    )
