"""Levels by name, and what may hang on them: nothing softens as the level rises."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, pairwise
from typing import Any

from meltguard.api.rules import Rule
from meltguard.core.policy import Level


class LevelName(StrEnum):
    """How hard the service is pressed."""

    NORMAL = "Normal"
    ELEVATED = "Elevated"
    OVERLOADED = "Overloaded"
    CRITICAL = "Critical"

    @property
    def level(self) -> Level:
        """The level that bears this name."""
        return Level[self.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardness:
    """How hard a value is, in both languages; `{0}` stands for the value in CEL."""

    cel: str
    cel_fits: str  # whether the value has a form that can be compared at all
    of: Callable[[Any], float]


def never_softens(hardness: Hardness, levels: Sequence[str], message: str) -> Rule:
    """A rule over a model with one optional field a level: from level to level nothing given is softer than before."""

    def pair(low: str, high: str) -> str:
        one, other = f"self.{low}", f"self.{high}"
        fit = f"{hardness.cel_fits.format(one)} && {hardness.cel_fits.format(other)}"
        return (
            f"(!has({one}) || !has({other}) || !({fit}) || {hardness.cel.format(one)} <= {hardness.cel.format(other)})"
        )

    def holds(model: Any) -> bool:
        given = [value for level in levels if (value := getattr(model, level.lower())) is not None]
        return all(hardness.of(low) <= hardness.of(high) for low, high in pairwise(given))

    return Rule(cel=" && ".join(pair(*two) for two in combinations(levels, 2)), holds=holds, message=message)
