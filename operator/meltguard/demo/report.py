"""The report of a run: what happened when, what was kept, and the exit code that follows."""

import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from meltguard.core.units import Seconds
from meltguard.demo.check.cards import SLOW_AT_MOST
from meltguard.demo.checker import Findings
from meltguard.demo.facts import RunFacts
from meltguard.demo.outcome import outcome
from meltguard.demo.story import since, story

LAG_GOAL: Final = Seconds(0.05)
ACK_GOAL: Final = Seconds(1.0)
LIMIT_GOAL: Final = Seconds(5.0)
CLAIM_GOAL: Final = Seconds(5.0)
"""A shortage lasts two seconds of real time before a node is claimed; a crowd at this speed may be faster."""

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
        _at_most("firstClaimAfterLimitSeconds", _first_claim_after_limit(found), CLAIM_GOAL),
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
        *_cards(found),
        _at_most("loadGeneratorLagP99Seconds", found.lag_p99, LAG_GOAL),
    )


def _cards(found: Findings) -> tuple[Row, ...]:
    """What was made of the card that is hot and of the one that is slow."""
    counted = None if found.hot_gpu is None else found.hot_gpu.counted
    pace = None if found.slow_pod is None else found.slow_pod.pace_share
    return (
        Row(
            name="hotGpuCountedShare",
            value=counted,
            unit="of a cool one",
            goal="< 1",
            met=counted is not None and counted < 1.0,
        ),
        Row(
            name="slowPodPace",
            value=pace,
            unit="of its peers",
            goal=f"<= {SLOW_AT_MOST:g}",
            met=pace is not None and pace <= SLOW_AT_MOST,
        ),
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


def _first_claim_after_limit(found: Findings) -> Seconds | None:
    """0 where the first node was claimed before the first limit; None where there was no claim or no limit."""
    limit, claim = found.timeline.first_limit, found.timeline.first_claim
    return None if limit is None or claim is None else Seconds(max(0.0, claim - limit))


def verdict(found: Findings, facts: RunFacts) -> Verdict:
    """A lag makes a run inconclusive, never passed; then every step and every count decides. Times are only shown."""
    if found.lag_p99 > LAG_GOAL:
        return Verdict.INCONCLUSIVE
    counts = [row for row in rows(found, facts) if row.unit != SECONDS]
    whole = all(step["done"] for step in story(found, facts)) and all(row.met for row in counts)
    return Verdict.WHOLE_STORY if whole else Verdict.NOT_ALL


def report(found: Findings, facts: RunFacts) -> dict[str, Any]:
    """The whole report; times in seconds from the start of the surge, null where something did not happen."""
    times, broken = found.timeline, found.broken
    return {
        "verdict": verdict(found, facts).name,
        "speed": facts.speed,
        "speedMeans": REAL_TIME,
        "seed": facts.seed,
        "source": facts.source,
        "overloadSeen": since(times.overload_seen, facts.surge_at),
        "firstLimitPushed": since(times.first_limit, facts.surge_at),
        "limitAckP99Seconds": facts.ack_p99,
        "firstNodeClaimed": since(times.first_claim, facts.surge_at),
        "firstNodeSchedulable": since(times.first_schedulable, facts.surge_at),
        "claimToSchedulableSecondsMax": _rounded(found.slowest_opening),
        "claimToSchedulableBusySecondsMax": _rounded(found.slowest_drain),
        "evictedUntold": len(broken["evictedUntold"]),
        "ladderOutOfOrder": len(broken["ladderOutOfOrder"]),
        "firstNodeServing": since(times.first_serving, facts.surge_at),
        "limitsLifted": since(times.limits_lifted, facts.surge_at),
        "allNodesHome": since(times.all_home, facts.surge_at),
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
        **_told(found, facts),
        "broken": {promise: list(times_broken) for promise, times_broken in broken.items() if times_broken},
        "files": dict(facts.files),
    }


def _told(found: Findings, facts: RunFacts) -> dict[str, Any]:
    """What the picture and the summary tell in words."""
    return {
        "hotGpu": _hot_gpu(found),
        "slowPod": _slow_pod(found),
        "outcome": dict(outcome(found, facts)),
        "story": story(found, facts),
        "decisions": [
            {"at": since(one.at, facts.surge_at), "level": one.level, "reason": one.reason, "text": one.text}
            for one in found.decisions
        ],
    }


def _hot_gpu(found: Findings) -> dict[str, Any] | None:
    hot = found.hot_gpu
    if hot is None:
        return None
    return {
        "node": hot.node,
        "hottestCelsius": round(hot.hottest, 1),
        "otherNodesHottestCelsius": round(hot.others, 1),
        "countedShare": hot.counted,
        "otherNodesCountedShare": hot.others_counted,
    }


def _slow_pod(found: Findings) -> dict[str, Any] | None:
    slow = found.slow_pod
    if slow is None:
        return None
    return {
        "pod": slow.pod.name,
        "node": slow.pod.node,
        "unitsAMinuteOfGpuTime": round(slow.pace, 2),
        "peersUnitsAMinuteOfGpuTime": round(slow.peers_pace, 2),
        "requests": slow.requests,
        "peersRequests": slow.peers_requests,
        "shareOfPeersWork": round(slow.work_share, 3),
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


def _rounded(seconds: Seconds | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
