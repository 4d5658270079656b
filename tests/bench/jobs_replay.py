"""Recorded research jobs, run on nodes of eight GPUs: what stood where, at any moment."""

import csv
import gzip
import heapq
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

NODE_GPUS: Final = 8

TRACE: Final = "research-jobs-philly.csv.gz"
"""Submitted (UTC), seconds and GPUs of each job; where the folder of traces lies beside the checkout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as it was submitted; times in seconds since the epoch."""

    number: int
    submitted: float
    seconds: float
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A job on its nodes: a gang where there are several."""

    job: Job
    started: float
    parts: tuple[tuple[int, int], ...]  # (node, GPUs)

    @property
    def ends(self) -> float:
        """When it is done."""
        return self.started + self.job.seconds


def trace_beside_checkout() -> Path | None:
    """The trace; None where it is not there."""
    parents = Path(__file__).resolve().parents  # tests/bench/, tests/, the checkout, the folder around it
    path = parents[3] / "shared" / "traces" / TRACE
    return path if path.is_file() else None


def read_jobs(path: Path) -> list[Job]:
    """All jobs, by their submission."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        rows = [
            (_moment(row["submitted"]), float(row["duration_seconds"]), int(row["gpus"]))
            for row in csv.DictReader(lines)
        ]
    return [
        Job(number=number, submitted=submitted, seconds=seconds, gpus=gpus)
        for number, (submitted, seconds, gpus) in enumerate(sorted(rows))
    ]


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@dataclass(slots=True)
class Cluster:
    """Nodes that run jobs: first come, first served, but who does not fit now lets others pass."""

    nodes: int
    free: list[int] = field(init=False)
    running: dict[int, Running] = field(default_factory=dict)
    waiting: dict[int, deque[Job]] = field(default_factory=lambda: defaultdict(deque))  # by size
    ends: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = [NODE_GPUS] * self.nodes

    def submit(self, job: Job) -> None:
        """A job comes."""
        self.finish(job.submitted)
        if not self._start(job, job.submitted):
            self.waiting[job.gpus].append(job)

    def finish(self, now: float) -> None:
        """Jobs end until now, and others start in their places."""
        while self.ends and self.ends[0][0] <= now:
            at, number = heapq.heappop(self.ends)
            for node, gpus in self.running.pop(number).parts:
                self.free[node] += gpus
            self._let_pass(at)

    def _let_pass(self, now: float) -> None:
        """Of those who wait, the first of each size is tried, in the order of their coming, until none fits."""
        heads = [queue[0] for queue in self.waiting.values() if queue]
        for job in sorted(heads, key=lambda job: job.number):
            if self._start(job, now):
                self.waiting[job.gpus].popleft()
                self._let_pass(now)
                return

    def _start(self, job: Job, now: float) -> bool:
        parts = self._place(job.gpus)
        for node, gpus in parts:
            self.free[node] -= gpus
        if parts:
            self.running[job.number] = Running(job=job, started=now, parts=parts)
            heapq.heappush(self.ends, (now + job.seconds, job.number))
        return bool(parts)

    def _place(self, gpus: int) -> tuple[tuple[int, int], ...]:
        """The fullest node that has room; a gang of more than a node takes empty ones."""
        if gpus > NODE_GPUS:
            whole = [node for node, free in enumerate(self.free) if free == NODE_GPUS]
            sizes = [min(NODE_GPUS, gpus - taken) for taken in range(0, gpus, NODE_GPUS)]
            return tuple(zip(whole, sizes, strict=False)) if len(whole) >= len(sizes) else ()
        best = min(range(self.nodes), key=lambda node: (self.free[node] < gpus, self.free[node]))
        return ((best, gpus),) if self.free[best] >= gpus else ()


def moments(jobs: Sequence[Job], nodes: int, every: float) -> Iterator[tuple[float, list[Running]]]:
    """What ran at equally spaced moments of the trace, from the second day on: the first finds an empty cluster."""
    cluster = Cluster(nodes)
    due = jobs[0].submitted + 86_400.0
    for job in jobs:
        while due <= job.submitted:
            cluster.finish(due)
            yield due, list(cluster.running.values())
            due += every
        cluster.submit(job)
