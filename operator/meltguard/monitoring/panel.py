"""What a panel of the dashboard is."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Grafana's name of how a panel is drawn."""

    LINES = "timeseries"
    STATES = "state-timeline"
    NAMES = "stat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture of a few queries."""

    title: str
    text: str  # what it shows, for who hovers over it
    queries: tuple[tuple[str, str], ...]  # PromQL and legend
    unit: str = "short"  # Grafana's name of it
    kind: Kind = Kind.LINES
    words: tuple[str, ...] = ()  # what the values 0, 1, 2 and so on are called


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question."""

    title: str
    panels: tuple[Panel, ...]
