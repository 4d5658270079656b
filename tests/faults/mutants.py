"""Seeded bugs: `PYTHONPATH=tests python -m faults.mutants`; exit 0 only where the checker or a case catches each.

A bug is a text put in another's place, in a copy of the operator's source that only the operator's process imports.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from faults.ground import Ground, Operators, ground
from faults.running import Runner
from faults.scenario import Case, Outcome
from faults.seeded_bugs import BUGS, Bug
from meltguard.errors import InvalidInput, MeltguardError
from meltguard.localcluster.plane import running_plane
from support.chart import ROOT

BENCH: Final = Path("build/bench/mutants.json")
SOURCE: Final = ROOT / "operator" / "meltguard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One bug and what became of it."""

    bug: Bug
    outcome: Outcome
    control: Outcome  # the same case without the bug

    @property
    def caught(self) -> bool:
        """Whether something was found that is not found without the bug."""
        return bool(self.outcome.findings) and not self.control.findings

    @property
    def by(self) -> list[str]:
        """The invariants that caught it."""
        return sorted({finding.invariant for finding in self.outcome.findings})


def planted(bug: Bug, place: Path) -> Path:
    """A source tree with the bug in it.

    Raises:
        InvalidInput: the source no longer has the text; the bug must be written anew.
    """
    tree = place / bug.name
    shutil.copytree(SOURCE, tree / "meltguard", ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in bug.edits:
        path = tree / "meltguard" / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise InvalidInput(f"{bug.name}: {file} has {text.count(old)} times {old!r}; write the bug anew")
        path.write_text(text.replace(old, new), encoding="utf-8")
    return tree


async def tried(found: Ground, runner: Runner, bug: Bug, place: Path) -> Outcome:
    """The bug's own case, under an operator that has the bug."""
    operator = found.operator
    honest = operator.launch
    operator.launch = replace(honest, source=planted(bug, place))
    try:
        await operator.restart()
        return await _run(runner, bug.case)
    finally:
        operator.launch = honest
        await operator.kill()


async def _run(runner: Runner, case: Case) -> Outcome:
    try:
        async with asyncio.timeout(400.0):
            return await runner.run(case)
    except (MeltguardError, TimeoutError, OSError) as exc:
        await runner.clear()
        return Outcome.ended_early(case, f"the case did not end: {exc!r}")


async def trials(found: Ground, bugs: Sequence[Bug], place: Path) -> list[Trial]:
    """Each bug in turn, told as it ends."""
    found.operator.open()
    runner = Runner(found)
    await found.operator.up()
    controls: dict[str, Outcome] = {}
    done: list[Trial] = []
    for number, bug in enumerate(bugs, start=1):
        if bug.case.name not in controls:
            controls[bug.case.name] = await _run(runner, bug.case)
            for finding in controls[bug.case.name].findings:
                _say(f"    without any bug, {bug.case.name} finds {finding}")
        outcome = await tried(found, runner, bug, place)
        trial = Trial(bug=bug, outcome=outcome, control=controls[bug.case.name])
        verdict = f"caught by {', '.join(trial.by)}" if trial.caught else "NOT CAUGHT"
        _say(f"[{number}/{len(bugs)}] {bug.name} ({bug.like or 'own'}): {verdict} ({trial.outcome.seconds:.0f} s)")
        _say(f"    {trial.outcome.findings[0]}" if trial.caught else f"    {bug.what}")
        done.append(trial)
    return done


def report(done: Sequence[Trial]) -> dict[str, Any]:
    """Rows in the house's shape, and each trial."""
    caught = sum(trial.caught for trial in done)
    goal = len(done)
    rows = [
        {"name": "mutants", "value": len(done), "unit": "bugs", "goal": 12, "met": len(done) >= 12},
        {"name": "caught", "value": caught, "unit": "bugs", "goal": goal, "met": caught == goal},
    ]
    told = [
        {
            "name": trial.bug.name,
            "like": trial.bug.like,
            "what": trial.bug.what,
            "case": trial.outcome.case,
            "caughtBy": trial.by,
            "evidence": str(trial.outcome.findings[0]) if trial.caught else "",
        }
        for trial in done
    ]
    return {"rows": rows, "mutants": told}


def run(bugs: Sequence[Bug]) -> list[Trial]:
    """A plane, a ground, the bugs."""
    with tempfile.TemporaryDirectory(prefix="meltguard-mutants-") as own, running_plane() as plane:

        async def all_of_them() -> list[Trial]:
            async with ground(plane, Operators(directory=Path(own))) as found:
                return await trials(found, bugs, Path(own))

        return asyncio.run(all_of_them())


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - progress


def main() -> int:
    """0: each was caught; 1: one was not; 2: nothing could be run."""
    parser = argparse.ArgumentParser(prog="faults.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these bugs")
    parser.add_argument("--out", type=Path, default=BENCH, help="the report")
    told = parser.parse_args()
    bugs = [bug for bug in BUGS if not told.names or bug.name in told.names]
    try:
        done = run(bugs)
    except MeltguardError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(report(done), indent=2) + "\n", encoding="utf-8")
    return 0 if done and all(trial.caught for trial in done) else 1


if __name__ == "__main__":
    sys.exit(main())
