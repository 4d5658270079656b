"""The report of a run: what happened when, what was kept, and the exit code that follows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from meltguard.core.units import Instant, Seconds
from meltguard.demo.checker import Findings

LAG_GOAL: Final = Seconds(0.05)
ACK_GOAL: Final = Seconds(1.0)
LIMIT_GOAL: Final = Seconds(5.0)
OPENING_GOAL: Final = Seconds(15.0)
DRAIN_GOAL: Final = Seconds(25.0)
"""The notice (10 s at the default speed), a grace of 5 s, and 10 s."""

REAL_TIME: Final = (
    "operator, API server, Prometheus and clocks run in real time; arrival gaps, service times, model load and the "
    "policy's own durations are divided by the speed"
)


class Verdict(IntEnum):
    """The exit code."""

    WHOLE_STORY = 0
    NOT_ALL = 1
    INCONCLUSIVE = 3  # the load generator lagged: the run proves nothing


SECONDS: Final = "s"
"""The unit of rows that show a time: a slow machine breaks no promise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the run was, beside what was found."""

    surge_at: Instant
    speed: float
    seed: int
    source: str  # of service times, users and shape
    floor: int
    ack_p99: Seconds | None
    files: Mapping[str, str]
    acts: Mapping[str, Instant]  # what people and accidents did: `ships`, `killed`


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured value against its goal."""

    name: str
    value: float | bool | None
    unit: str
    goal: str
    met: bool

    def as_json(self) -> dict[str, Any]:
        """As the benchmarks' files have it."""
        return asdict(self)


def rows(found: Findings, facts: RunFacts) -> tuple[Row, ...]:
    """The values that are judged."""
    after_overload = _first_limit_after_overload(found)
    counted = tuple(
        Row(name=promise, value=len(times), unit="times broken", goal="0", met=not times)
        for promise, times in found.broken.items()
        if promise not in {"researchFloor", "nodesRestored"}
    )
    return (
        _at_most("limitAckP99Seconds", facts.ack_p99, ACK_GOAL),
        _at_most("firstLimitAfterOverloadSeconds", after_overload, LIMIT_GOAL),
        _at_most("claimToSchedulableSecondsMax", found.slowest_opening, OPENING_GOAL),
        _at_most("claimToSchedulableBusySecondsMax", found.slowest_drain, DRAIN_GOAL),
        *counted,
        Row(
            name="researchReadyMin",
            value=found.lender_ready_min,
            unit="nodes",
            goal=f">= {facts.floor}",
            met=found.lender_ready_min >= facts.floor,
        ),
        Row(
            name="nodesRestored",
            value=not found.broken["nodesRestored"],
            unit="",
            goal="true",
            met=not found.broken["nodesRestored"],
        ),
        _at_most("loadGeneratorLagP99Seconds", found.lag_p99, LAG_GOAL),
    )


def _at_most(name: str, value: Seconds | None, goal: Seconds) -> Row:
    met = value is not None and value <= goal
    return Row(name=name, value=value, unit=SECONDS, goal=f"<= {goal:g}", met=met)


def _first_limit_after_overload(found: Findings) -> Seconds | None:
    """0 where the limit came before the overload showed; None where there was no limit."""
    limit, overload = found.timeline.first_limit, found.timeline.overload_seen
    if limit is None:
        return None
    return Seconds(max(0.0, limit - overload) if overload is not None else 0.0)


def verdict(found: Findings, facts: RunFacts) -> Verdict:
    """A lag makes a run inconclusive, never passed; then every step and every count decides. Times are only shown."""
    if found.lag_p99 > LAG_GOAL:
        return Verdict.INCONCLUSIVE
    counts = [row for row in rows(found, facts) if row.unit != SECONDS]
    whole = all(step["done"] for step in story(found, facts)) and all(row.met for row in counts)
    return Verdict.WHOLE_STORY if whole else Verdict.NOT_ALL


def story(found: Findings, facts: RunFacts) -> list[dict[str, Any]]:
    """Each promised step: done or not, and when, in seconds from the start of the surge."""
    times, ladder, acts = found.timeline, found.ladder, facts.acts
    told: list[tuple[str, Instant | None]] = [
        ("the GPUs cannot keep up: work queues beyond the wait target", times.overload_seen or times.first_limit),
        ("the new feature is slowed", ladder.feature_slowed),
        ("updates of the service are held", ladder.updates_held),
        ("a developer ships a version all the same: it waits", acts.get("ships")),
        ("the free tier is limited on the serving pods", times.first_limit),
        ("an idle research node is claimed", times.first_claim),
        ("it is schedulable for inference", times.first_schedulable),
        ("it serves images", times.first_serving),
        ("training that was told saves its work and leaves", ladder.first_eviction),
        ("its node is schedulable for inference", times.first_drained_open),
        ("a person suspends the free tier for a while", ladder.override_began),
        ("that override ends by itself", ladder.override_ended),
        ("the operator is killed", acts.get("killed")),
        ("another term goes on where it stopped", ladder.next_term),
        ("the limits are lifted", times.limits_lifted),
        ("the new feature is whole again", ladder.feature_restored),
        ("updates go on, and the shipped version runs", ladder.updates_resumed if found.updated else None),
        ("every node is home", times.all_home),
    ]
    if ladder.update_tried is not None:  # whether there is time for it depends on the surge
        told.append(("it is tried on one pod: does it make images cheaper?", ladder.update_tried))
    return [{"step": step, "done": at is not None, "at": _since(at, facts.surge_at)} for step, at in told]


def report(found: Findings, facts: RunFacts) -> dict[str, Any]:
    """The whole report; times in seconds from the start of the surge, null where something did not happen."""
    times, broken = found.timeline, found.broken
    return {
        "verdict": verdict(found, facts).name,
        "speed": facts.speed,
        "speedMeans": REAL_TIME,
        "seed": facts.seed,
        "source": facts.source,
        "overloadSeen": _since(times.overload_seen, facts.surge_at),
        "firstLimitPushed": _since(times.first_limit, facts.surge_at),
        "limitAckP99Seconds": facts.ack_p99,
        "firstNodeClaimed": _since(times.first_claim, facts.surge_at),
        "firstNodeSchedulable": _since(times.first_schedulable, facts.surge_at),
        "claimToSchedulableSecondsMax": _rounded(found.slowest_opening),
        "claimToSchedulableBusySecondsMax": _rounded(found.slowest_drain),
        "evictedUntold": len(broken["evictedUntold"]),
        "ladderOutOfOrder": len(broken["ladderOutOfOrder"]),
        "firstNodeServing": _since(times.first_serving, facts.surge_at),
        "limitsLifted": _since(times.limits_lifted, facts.surge_at),
        "allNodesHome": _since(times.all_home, facts.surge_at),
        "requests": _requests(found),
        "evictions": found.evictions,
        "deletedWithoutEviction": len(broken["deletedWithoutEviction"]),
        "researchReadyMin": found.lender_ready_min,
        "researchFloor": facts.floor,
        "freeOverQuota": len(broken["freeOverQuota"]),
        "paidShedWhileFreeAboveFloor": len(broken["paidShedWhileFreeAboveFloor"]),
        "limitDirectionChangesPerMinuteMax": found.limit_turns_a_minute,
        "gpuBusyWhileLimited": None if found.busy_while_limited is None else round(found.busy_while_limited, 3),
        "nodesRestored": not broken["nodesRestored"],
        "epochsFell": len(broken["epochsFell"]),
        "claimsLeft": len(broken["claimsLeft"]),
        "loans": found.loans,
        "maxLoans": found.most_loans,
        "loadGeneratorLagP99Seconds": _rounded(found.lag_p99),
        "story": story(found, facts),
        "broken": {promise: list(times_broken) for promise, times_broken in broken.items() if times_broken},
        "files": dict(facts.files),
    }


def _requests(found: Findings) -> dict[str, Any]:
    return {
        tier: {
            "offered": of.offered,
            "admitted": of.admitted,
            "waited": of.waited,
            "refused": of.refused,
            "refusedFor": dict(of.refused_for),
            "waitP50": _rounded(of.wait_p50),
            "waitP99": _rounded(of.wait_p99),
        }
        for tier, of in found.requests.items()
    }


def write(path: Path, content: Any) -> None:
    """Write JSON for people and programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _since(at: Instant | None, start: Instant) -> float | None:
    return None if at is None else round(at - start, 2)


def _rounded(seconds: Seconds | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
