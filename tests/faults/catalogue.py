"""Every case, by name; the crash points come from a fault-free run's own writes."""

from collections.abc import Sequence
from random import Random
from typing import Final

from faults import cases, crashes, drain_cases, fleet_cases, server_cases
from faults.drain_cases import BUSY
from faults.rules import Write
from faults.scenario import Case

NOT_HERE: Final = {
    12: "events are doubled and swapped on the wire; the exhaustive order search needs the in-process model",
    18: "one build only: a claim of another version is left alone, an upgrade in mid-move needs two releases",
    19: "definitions are applied again in mid-move; deleting them would end the plane for the runs that follow",
    17: "two operators and a leader that is cut off; no clock can be set forward without libfaketime",
}
"""Rows that are shown in part, and why not in whole."""


TOGETHER: Final = 4
"""Crashes in one round trip, where there are several."""


def matrix() -> tuple[Case, ...]:
    """Rows 1 to 19 and 30 to 50, without the crash points."""
    return (
        cases.fault_free(),
        *server_cases.api_server(),
        *cases.watches(),
        *cases.rights_and_processes(),
        *cases.two_operators(),
        *cases.beyond(),
        *fleet_cases.on_nodes(),
        *fleet_cases.on_claims(),
        *fleet_cases.on_pods(),
        *fleet_cases.on_policies(),
        *drain_cases.budgets(),
        *drain_cases.stubborn_pods(),
        *drain_cases.owners(),
        *drain_cases.mid_drain(),
    )


def fault_free() -> Case:
    """The run that the others are held against: its writes are the crash points."""
    return cases.fault_free(BUSY)


def crash_points(writes: Sequence[Write]) -> tuple[Case, ...]:
    """Before and after each write of a busy round trip, one a run."""
    return tuple(crashes.crashing((point,), BUSY) for point in crashes.points_of(writes))


def many_crashes(writes: Sequence[Write], chance: Random, rounds: int) -> tuple[Case, ...]:
    """Each of those points as often as there are rounds, several in one run."""
    made: list[Case] = []
    for number in range(rounds):
        points = list(crashes.points_of(writes))
        chance.shuffle(points)
        parts = [points[start : start + TOGETHER] for start in range(0, len(points), TOGETHER)]
        made += [crashes.crashing(part, BUSY, f"crashes-{number + 1}-{place}") for place, part in enumerate(parts, 1)]
    return tuple(made)
