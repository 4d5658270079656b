"""Rows that most benches show: a value that is judged by one bound, or by none."""

from typing import Final

from meltguard.demo.report import Row

TOLD: Final = "shown, not judged"


def none(name: str, value: int, unit: str) -> Row:
    """What must not be."""
    return Row(name=name, value=value, unit=unit, goal="0", met=value == 0)


def least(name: str, value: int, unit: str, least: int) -> Row:
    """What must be this much, or more."""
    return Row(name=name, value=value, unit=unit, goal=f">= {least}", met=value >= least)


def told(name: str, value: float | None, unit: str) -> Row:
    """What is only shown; None: it did not come to that."""
    return Row(name=name, value=None if value is None else round(value, 4), unit=unit, goal=TOLD, met=True)
