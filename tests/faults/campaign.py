"""The crash campaign: `PYTHONPATH=tests python -m faults.campaign`; exit 0 only where no promise was broken.

`--only REGEX` runs the cases of that name again, `--list` names them; `--crashes 0` leaves the crash points out.
`--jobs N` works on N planes at a time: a case waits far more than it computes.
"""

import argparse
import asyncio
import random
import re
import sys
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from faults import catalogue, report
from faults.ground import Ground, Operators, ground
from faults.rules import Write
from faults.running import Runner
from faults.scenario import Case, Outcome
from meltguard.errors import MeltguardError
from meltguard.localcluster.plane import PlaneOptions, running_plane

BENCH: Final = Path("build/bench/faults.json")
CASE_LIMIT: Final = 420.0
"""Seconds; a case has waits of its own, all shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for."""

    only: str = ""
    crashes: int = 3
    seed: int = 0
    directory: Path | None = None
    out: Path = BENCH
    source: Path | None = None  # the operator's source tree; None: this checkout's
    jobs: int = 1  # planes at a time
    part: int = 0  # which of them this is
    writes: tuple[Write, ...] = ()  # of a fault-free run; empty: make one

    def mine(self, case: Case) -> bool:
        """Whether the case is meant, and this job's."""
        return re.search(self.only, case.name) is not None and zlib.crc32(case.name.encode()) % self.jobs == self.part


@dataclass(slots=True)
class Campaign:
    """Cases in the seed's order, each told as it ends."""

    runner: Runner
    options: Options
    outcomes: list[Outcome] = field(default_factory=list)

    async def run(self) -> None:
        """All that is asked for. A case that the harness itself cannot end counts as broken."""
        writes = self.options.writes or (await self._run(catalogue.fault_free())).writes
        chance = random.Random(self.options.seed)  # noqa: S311 - an order, no secret
        every = [*catalogue.matrix()]
        if self.options.crashes:
            every += catalogue.crash_points(writes)
            every += catalogue.many_crashes(writes, chance, self.options.crashes - 1)
        todo = [case for case in every if self.options.mine(case)]
        chance.shuffle(todo)
        for number, case in enumerate(todo, start=1):
            outcome = await self._run(case)
            job = f" of job {self.options.part + 1}" if self.options.jobs > 1 else ""
            _say(f"[{number}/{len(todo)}{job}] {report.line(outcome)}")

    async def _run(self, case: Case) -> Outcome:
        try:
            async with asyncio.timeout(CASE_LIMIT):
                outcome = await self.runner.run(case)
        except (MeltguardError, TimeoutError, OSError) as exc:
            outcome = Outcome.ended_early(case, f"the harness could not end the case: {exc!r}")
            await self.runner.clear()
        self.outcomes.append(outcome)
        for finding in outcome.findings:
            _say(f"  {finding}")
        return outcome


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the campaign's own progress


async def on_ground(found: Ground, options: Options) -> Sequence[Outcome]:
    """The campaign on a ground; its outcomes."""
    found.operator.open()
    await found.operator.up()
    campaign = Campaign(Runner(found), options)
    await campaign.run()
    return campaign.outcomes


def run(options: Options) -> Sequence[Outcome]:
    """A plane, a ground, the campaign."""
    with tempfile.TemporaryDirectory(prefix="meltguard-faults-") as own:
        directory = options.directory or Path(own)
        directory.mkdir(parents=True, exist_ok=True)
        with running_plane(PlaneOptions()) as plane:
            told = Operators(directory=directory, doors=("first", "second"), source=options.source)

            async def campaign() -> Sequence[Outcome]:
                async with ground(plane, told) as found:
                    return await on_ground(found, options)

            return asyncio.run(campaign())


def run_in_jobs(options: Options) -> Sequence[Outcome]:
    """One fault-free run, whose writes name the crash points for all; then every job its share of the cases."""
    if options.jobs == 1:
        return run(options)
    first = run(replace(options, only="^$", jobs=1))
    whole = [replace(options, part=part, writes=first[0].writes) for part in range(options.jobs)]
    parts = [replace(one, directory=_own(options.directory, one.part)) for one in whole]
    with ProcessPoolExecutor(options.jobs) as pool:
        return [*first, *(outcome for outcomes in pool.map(run, parts) for outcome in outcomes)]


def _own(directory: Path | None, part: int) -> Path | None:
    return None if directory is None else directory / f"job-{part + 1}"


def parsed(words: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The command line; whether only the names are asked for."""
    parser = argparse.ArgumentParser(prog="faults.campaign", description=__doc__)
    parser.add_argument("--only", default="", help="a regular expression: the cases whose names it finds")
    parser.add_argument(
        "--crashes", type=int, default=3, help="how often each crash point is shown: once by itself, then with others"
    )
    parser.add_argument("--seed", type=int, default=0, help="the order of the cases")
    parser.add_argument("--directory", type=Path, help="where the operators' logs stay")
    parser.add_argument("--out", type=Path, default=BENCH, help="the report")
    parser.add_argument("--source", type=Path, help="another source tree of the operator")
    parser.add_argument("--jobs", type=int, default=1, choices=range(1, 9), help="planes at a time")
    parser.add_argument("--list", action="store_true", help="name the cases of the matrix and end")
    told = parser.parse_args(words)
    options = Options(
        only=told.only,
        crashes=told.crashes,
        seed=told.seed,
        directory=told.directory,
        out=told.out,
        source=told.source,
        jobs=told.jobs,
    )
    return options, told.list


def names(cases: Iterable[Case]) -> str:
    """One a line."""
    return "\n".join(f"{case.row:3} {case.name}" for case in cases)


def main() -> int:
    """0: no promise was broken; 1: one was; 2: nothing could be run."""
    options, listed = parsed()
    if listed:
        _say(names(catalogue.matrix()))
        return 0
    try:
        outcomes = run_in_jobs(options)
    except MeltguardError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    report.write(options.out, outcomes)
    _say(report.summary(outcomes))
    return 1 if any(outcome.findings for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
