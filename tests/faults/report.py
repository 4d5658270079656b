"""What a campaign shows: a line a case, rows for build/bench, a summary."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from faults.catalogue import NOT_HERE
from faults.scenario import Outcome

ROWS: Final = (*range(1, 20), *range(30, 51))
"""Of the fault matrix: what a campaign must show at least once."""

INVARIANTS: Final = (*(f"S{number}" for number in range(1, 12)), *(f"L{number}" for number in range(1, 6)), "HARNESS")
POINTS: Final = 26
SLOWEST: Final = 60.0


def line(outcome: Outcome) -> str:
    """How one case went."""
    verdict = f"{len(outcome.findings)} broken" if outcome.findings else "held"
    struck = f"struck {outcome.strikes} times" if outcome.strikes else "struck by others' hands"
    return (
        f"{outcome.case}: {verdict}, {struck}, {outcome.restarts} restarts, "
        f"home after {outcome.converged:.0f} s, {outcome.seconds:.0f} s in all"
    )


def rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Values against their goals, in the house's shape."""
    broken = Counter(finding.invariant for outcome in outcomes for finding in outcome.findings)
    points = Counter(point for outcome in outcomes for point in outcome.points)
    shown = {outcome.row for outcome in outcomes if outcome.row}
    missing = [row for row in ROWS if row not in shown]
    converged = sorted(outcome.converged for outcome in outcomes if not outcome.findings)
    p95 = converged[int(0.95 * (len(converged) - 1))] if converged else None
    counted = [_row(f"broken.{name}", broken[name], "times", 0, broken[name] == 0) for name in INVARIANTS]
    return [
        _row("runs", len(outcomes), "runs", None, met=True),
        _row("violations", broken.total(), "", 0, met=not broken),
        *counted,
        _row("crashPoints", len(points), "points", POINTS, met=len(points) >= POINTS),
        _row(
            "runsOfACrashPointMin", min(points.values(), default=0), "runs", 3, met=min(points.values(), default=0) >= 3
        ),
        _row("matrixRowsShown", len(shown & set(ROWS)), "rows", len(ROWS), met=not missing),
        _row("convergedP95Seconds", p95, "s", 30, met=p95 is not None and p95 <= SLOWEST / 2),
        _row("convergedMaxSeconds", max(converged, default=None), "s", None, met=True),
    ]


def _row(name: str, value: float | None, unit: str, goal: float | None, met: bool) -> dict[str, Any]:  # noqa: FBT001
    shown = round(value, 2) if isinstance(value, float) else value
    return {"name": name, "value": shown, "unit": unit, "goal": goal, "met": met}


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """The report, for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = {
        "rows": rows(outcomes),
        "shownInPart": {str(row): why for row, why in sorted(NOT_HERE.items())},
        "cases": [_case(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")


def _case(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.case,
        "row": outcome.row,
        "strikes": outcome.strikes,
        "restarts": outcome.restarts,
        "seconds": round(outcome.seconds, 1),
        "convergedSeconds": round(outcome.converged, 1),
        "writes": [write.label for write in outcome.writes],
        "broken": [{"invariant": one.invariant, "what": one.what, "auditEvent": one.event} for one in outcome.findings],
    }


def summary(outcomes: Sequence[Outcome]) -> str:
    """The last lines: what is not as promised, or that all is."""
    told = [f"{row['name']} {row['value']}, goal {row['goal']}" for row in rows(outcomes) if not row["met"]]
    bad = [outcome.case for outcome in outcomes if outcome.findings]
    again = f"; again: --only '^({'|'.join(sorted(set(bad)))})$'" if bad else ""
    return f"{len(outcomes)} runs, {len(bad)} with findings{again}\n" + "\n".join(told)
