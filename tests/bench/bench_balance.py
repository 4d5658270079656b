"""Requests divided over unequal GPUs by a real Envoy: by our load reports, in turn, and to the least busy.

Run as `python tests/bench/bench_balance.py`. Three times the same four pods (two good, one slow, one hot), each behind
its real agent, get the same requests at the same moments through the same Envoys; only the way of dividing differs.
Several times, each with chances of its own; the medians are judged. Writes build/bench/balance.json; exit code 1 where
a goal is missed, 3 where the load generator lagged, or had no time left on its core. Envoy has the other core.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.balance_servers import CARDS, LONGEST_WAIT, SPEED, WORK_HEADER, Pod, pods
from bench.cores import subjects_core, take_the_loads_core
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds, Share
from meltguard.demo.report import Row, Verdict, write
from meltguard.sim.ledger import quantile
from support.envoy import Balancing, envoy

REPORT: Final = Path("build/bench/balance.json")
UNIT_WORK: Final = Seconds(10.0 / SPEED)  # one image unit on a good card
UNITS: Final = (1, 2, 4)  # images asked for at once
UNITS_WEIGHTS: Final = (70, 20, 10)
SPREAD: Final = 0.15
WEIGHTS_EVERY: Final = 1.0
"""Seconds. Envoy begins its round anew at each change of weights: about one round over the pods must fit in between."""
WARM_UP: Final = 0.2  # of the time; while rates are learned and the hot card warms nothing is judged
LAG_GOAL: Final = Seconds(0.05)
BUSIEST: Final = 0.9
"""Of its core. A load generator, with the pods beside it, that used more measured itself."""

TIE: Final = 0.02
SAME_HEAT: Final = 0.5  # degrees
ANSWER_WITHIN: Final = aiohttp.ClientTimeout(total=60.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request."""

    at: Seconds
    units: int
    work: Seconds


@dataclass(slots=True)
class Seen:
    """What one way of dividing came to, as the clients saw it."""

    waits: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One way's judged values. Times are the bench's own, not yet multiplied by the speed."""

    wait_p99: float
    wait_mean: float
    time_p99: float
    refused: int
    hot: float  # mean of the hot card's readings
    hottest: float  # mean of their hottest tenth
    throttled: float  # share of the time that it was at its slow clock
    parts: Mapping[str, float]  # of the requests, by card


def jobs(seconds: float, load: float, seed: int) -> list[Job]:
    """Requests at random moments that ask for `load` of what the cards do together."""
    chance = Random(seed)  # noqa: S311 - a simulation
    mean = sum(u * w for u, w in zip(UNITS, UNITS_WEIGHTS, strict=True)) / sum(UNITS_WEIGHTS)
    rate = load * sum(1.0 / card.pace for card in CARDS) / (UNIT_WORK * mean)
    found: list[Job] = []
    at = chance.expovariate(rate)
    while at < seconds:
        units = chance.choices(UNITS, UNITS_WEIGHTS)[0]
        work = UNIT_WORK * units * chance.lognormvariate(-SPREAD * SPREAD / 2, SPREAD)
        found.append(Job(at=Seconds(at), units=units, work=Seconds(work)))
        at += chance.expovariate(rate)
    return found


class Bench:
    """One run: Envoys, pods, and the clients' notes."""

    def __init__(self, session: aiohttp.ClientSession, gateways: Sequence[Mapping[Balancing, int]]) -> None:
        self._session, self._gateways = session, gateways
        self._clock = SystemClock()
        self._chance = Random(7)  # noqa: S311 - a simulation
        self.seen = {balancing: Seen() for balancing in Balancing}
        self.lags: list[float] = []

    async def send_all(self, todo: Sequence[Job], judged_from: float, progress: Progress) -> None:
        """Every request at its moment, once for each way of dividing, through a gateway by chance."""
        start = self._clock.elapsed()
        bar = progress.add_task("requests", total=len(todo))
        async with asyncio.TaskGroup() as open_requests:
            for job in todo:
                await asyncio.sleep(max(0.0, start + job.at - self._clock.elapsed()))
                self.lags.append(self._clock.elapsed() - start - job.at)
                ports = self._chance.choice(self._gateways)
                for balancing in Balancing:
                    note = self.seen[balancing] if job.at >= judged_from else Seen()
                    open_requests.create_task(self._send(job, ports[balancing], note))
                progress.advance(bar)

    async def _send(self, job: Job, port: int, note: Seen) -> None:
        headers = {
            "X-Meltguard-Tier": "free",
            "X-Meltguard-User": "ann",
            "X-Meltguard-Images": str(job.units),
            WORK_HEADER: str(job.work),
        }
        began = self._clock.elapsed()
        url = f"http://127.0.0.1:{port}/v1/images/generations"
        async with self._session.post(url, headers=headers, timeout=ANSWER_WITHIN) as answer:
            await answer.read()
            took = self._clock.elapsed() - began
            served = answer.status == 200
            note.refused += not served
            note.times.append(took if served else LONGEST_WAIT)
            note.waits.append(took - float(answer.headers[WORK_HEADER]) if served else LONGEST_WAIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One seed's."""

    found: Mapping[Balancing, Figures]
    lag: float  # seconds that the load came late at p99
    busy: float  # share of its core that the load generator used, pods and agents beside it

    @property
    def proves(self) -> bool:
        """Whether it measured Envoy and not itself."""
        return self.lag <= LAG_GOAL and self.busy <= BUSIEST


async def measure(asked: argparse.Namespace, seed: int, progress: Progress) -> Run:
    """One seed's figures."""
    async with AsyncExitStack() as stack:
        fleets = {balancing: await stack.enter_async_context(pods()) for balancing in Balancing}
        servers = {balancing: [pod.running.data for pod in fleet] for balancing, fleet in fleets.items()}
        gateways = []
        for _ in range(asked.gateways):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            gateways.append(stack.enter_context(envoy(folder, servers, WEIGHTS_EVERY, subjects_core())))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        bench = Bench(session, gateways)
        began, used = time.monotonic(), time.process_time()
        await bench.send_all(jobs(asked.seconds, asked.load, seed), WARM_UP * asked.seconds, progress)
        busy = (time.process_time() - used) / (time.monotonic() - began)
        found = {balancing: figures(bench.seen[balancing], fleets[balancing]) for balancing in Balancing}
    return Run(found=found, lag=quantile(bench.lags, Share(0.99)), busy=busy)


def figures(seen: Seen, fleet: Sequence[Pod]) -> Figures:
    """What one way of dividing came to."""
    painters = {pod.painter.card.name: pod.painter for pod in fleet}
    made = sum(painter.made for painter in painters.values())
    hot = painters["hot"]
    readings = sorted(hot.temperatures[int(WARM_UP * len(hot.temperatures)) :])
    return Figures(
        wait_p99=quantile(seen.waits, Share(0.99)),
        wait_mean=fmean(seen.waits),
        time_p99=quantile(seen.times, Share(0.99)),
        refused=seen.refused,
        hot=fmean(readings),
        hottest=fmean(readings[-max(1, len(readings) // 10) :]),
        throttled=hot.throttled,
        parts={name: painter.made / made for name, painter in painters.items()},
    )


VALUES: Final[Mapping[str, tuple[str, Callable[[Figures], float]]]] = {
    "waitP99": ("s", lambda one: one.wait_p99 * SPEED),
    "waitMean": ("s", lambda one: one.wait_mean * SPEED),
    "answerTimeP99": ("s", lambda one: one.time_p99 * SPEED),
    "refused": ("requests", lambda one: one.refused),
    "hotCardMean": ("C", lambda one: one.hot),
    "hotCardHottestTenth": ("C", lambda one: one.hottest),
    "atSlowClock": ("share", lambda one: one.throttled),
}
"""What is judged, in the terms of a service whose image unit takes 10 s."""


def rows(runs: Sequence[Mapping[Balancing, Figures]]) -> list[dict[str, Any]]:
    """Ours against each other way: medians over the seeds, and their spread."""
    return [
        _row(name, unit, [read(run[Balancing.BY_LOAD]) for run in runs], [read(run[peer]) for run in runs], peer)
        for peer in (Balancing.IN_TURN, Balancing.LEAST_OPEN)
        for name, (unit, read) in VALUES.items()
    ]


def _row(name: str, unit: str, ours: Sequence[float], theirs: Sequence[float], peer: Balancing) -> dict[str, Any]:
    our, their = median(ours), median(theirs)
    met = our <= (their + SAME_HEAT if unit == "C" else their * (1 + TIE))
    row = Row(name=name, value=round(our, 4), unit=unit, goal=f"at most that of {peer.name}", met=met)
    return {
        **row.as_json(),
        "spread": _spread(ours),
        "peer": peer.name,
        "peerValue": round(their, 4),
        "peerSpread": _spread(theirs),
        "ratio": round(our / their, 3) if their else None,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"least": round(min(values), 4), "median": round(median(values), 4), "most": round(max(values), 4)}


def table(found: Mapping[Balancing, Figures], seed: int) -> Table:
    """For people."""
    shown = Table(title=f"one slow and one hot GPU of four, seed {seed}", title_justify="left")
    for column in ("divided", "wait p99 s", "mean", "answer p99 s", "refused", "hot C", "hottest C", "slow clock"):
        shown.add_column(column, justify="left" if column == "divided" else "right")
    for card in CARDS:
        shown.add_column(f"to {card.name}", justify="right")
    for balancing, one in found.items():
        shown.add_row(
            balancing.name,
            *(f"{value * SPEED:.1f}" for value in (one.wait_p99, one.wait_mean, one.time_p99)),
            str(one.refused),
            f"{one.hot:.1f}",
            f"{one.hottest:.1f}",
            f"{one.throttled:.2f}",
            *(f"{one.parts[card.name]:.3f}" for card in CARDS),
        )
    return shown


def main() -> int:
    """0: ours leads or ties everywhere; 1: not; 3: nothing is proved, the load came late."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=80.0, help="of each seed")
    parser.add_argument("--load", type=float, default=0.7, help="share of what the cards do together")
    parser.add_argument("--gateways", type=int, default=2, help="Envoys that do not know of each other")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    asked = parser.parse_args()
    console = Console(width=140)
    take_the_loads_core()
    runs = []
    for seed in range(asked.seed, asked.seed + asked.seeds):
        with Progress(console=console) as progress:
            runs.append(asyncio.run(measure(asked, seed, progress)))
        console.print(table(runs[-1].found, seed))
    lag, busy = max(run.lag for run in runs), max(run.busy for run in runs)
    if not all(run.proves for run in runs):
        console.print(
            f"the load came {lag:.3f} s late (p99) and used {busy:.0%} of its core: this proves nothing; "
            "run it on a quiet machine"
        )
        return Verdict.INCONCLUSIVE
    made = rows([run.found for run in runs])
    write(REPORT, made)
    missed = [row for row in made if not row["met"]]
    for row in missed:
        console.print(f"not met: {row['name']} {row['value']} against {row['peerValue']} of {row['peer']}")
    console.print(
        f"{len(made) - len(missed)} of {len(made)} led or tied; load came {lag * 1000:.1f} ms late and used {busy:.0%} "
        f"of its core. Rows: {REPORT}"
    )
    return Verdict.NOT_ALL if missed else Verdict.WHOLE_STORY


if __name__ == "__main__":
    sys.exit(main())
