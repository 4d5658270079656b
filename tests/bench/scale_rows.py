"""What a scale run showed, as rows: counts are judged; times, memory and ratios are told."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from bench.judging import least, none, told
from bench.scale_fleet import LENDERS, SERVICES
from bench.scale_operator import Look
from bench.scale_rivals import PATIENCE, Listed
from bench.scale_run import Measured
from meltguard.demo.report import Row

FULL: Final = sum(LENDERS.values())


def rows(found: Measured) -> list[Row]:
    """One size."""
    return [*judged(found), *_times(found), *_costs(found), *_read(found.listed)]


def judged(found: Measured) -> list[Row]:
    """What decides the exit code."""
    whole = not found.failed
    return [
        Row(name="cameToAll", value=whole, unit=found.failed, goal="true", met=whole),
        least("nodesLent", found.lent, "nodes", FULL),
        none("boundsPassed", len(found.over), "times that a pool's or policy's bound or a floor was passed"),
        none("nodesChanged", len(found.changed), "nodes that are not byte for byte as before"),
        none("operatorEnded", found.ends, "times"),
    ]


def _times(found: Measured) -> Iterator[Row]:
    yield told("pods", found.pods, f"pods, of {len(SERVICES)} services' {found.size.servers} that serve")
    yield told("fleetMade", found.made, "s")
    for what, took in found.started.items():
        yield told(f"start: {what}", took, "s since the process started")
    for what, took in found.surged.items():
        yield told(f"surge: {what}", took, "s since users asked for more")
    yield told("recall: all at home", found.recalled, "s since the order")
    yield told("ebb: all at home", found.ebbed, "s since users were calm")


def _costs(found: Measured) -> Iterator[Row]:
    """Of each phase: what a pass took, the CPU's share, requests."""
    names = list(found.looks)
    for name, after in pairwise(names):
        yield from _phase(name, found.looks[name], found.looks[after])
    if found.looks:
        last = found.looks[names[-1]]
        yield told("memory at the end", last.memory, "MiB resident")
        yield told("memory at most", last.peak, "MiB resident")


def _phase(name: str, begin: Look, end: Look) -> Iterator[Row]:
    span = end.at - begin.at
    yield told(f"{name}: cpu", (end.cpu - begin.cpu) / span, "of one core")
    yield told(f"{name}: requests", (end.requests - begin.requests) / span, "requests/s at the API server")
    passes, moves = end.passes - begin.passes, end.moves - begin.moves
    yield told(f"{name}: pass", (end.pass_seconds - begin.pass_seconds) / passes if passes else None, "s, mean")
    yield told(f"{name}: moves", (end.move_seconds - begin.move_seconds) / moves if moves else None, "s, mean")


def _read(listed: Sequence[Listed]) -> Iterator[Row]:
    """The same fleet read in other ways; ratios against ours."""
    ours = next((one for one in listed if one.way == "ours"), None)
    for one in listed:
        yield told(
            f"read: {one.way}", one.seconds, f"s for {one.objects} objects" if one.seconds else f"> {PATIENCE:g} s"
        )
        if one.seconds is None:
            continue
        yield told(f"read: {one.way}, cpu", one.cpu, "s")
        yield told(f"read: {one.way}, memory", one.grew, "MiB more than before")
        if ours is not None and ours.seconds and one is not ours:
            yield told(f"read: {one.way} / ours", one.seconds / ours.seconds, "times the time")
            yield told(f"read: {one.way} / ours, cpu", one.cpu / ours.cpu, "times the CPU")
