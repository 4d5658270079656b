"""The checker: from the audit log, the agents' journals and snapshots to what was kept and what was not.

It asks the operator for one number only, how long acknowledgements took; every zero it counts itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meltguard.core.units import Instant, Seconds, Share
from meltguard.demo.check import nodes, pods, policy, requests
from meltguard.demo.check.cards import HotGpu, SlowPod, hot_gpu, slow_pod
from meltguard.demo.check.decisions import Decided, decisions
from meltguard.demo.check.evidence import Evidence
from meltguard.demo.check.fleet import Step, steps
from meltguard.demo.check.ladder import Ladder, evicted_saved, evicted_untold, ladder
from meltguard.demo.check.order import out_of_order
from meltguard.demo.plan import FREE
from meltguard.sim.ledger import quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When each part of the story happened; None where it did not."""

    overload_seen: Instant | None
    first_limit: Instant | None
    first_claim: Instant | None
    first_schedulable: Instant | None
    first_serving: Instant | None  # on a borrowed node
    limits_lifted: Instant | None
    all_home: Instant | None
    first_drained_open: Instant | None  # a node whose work had to leave first, open to the borrower


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the checker found. `broken` holds, by promise, one sentence for each time that it was broken."""

    timeline: Timeline
    requests: Mapping[str, requests.TierRequests]
    evictions: int
    evicted_saved: int  # of those: pods that had said that their work is saved
    lender_ready_min: int
    limit_turns_a_minute: int
    loans: int
    most_loans: int
    busy_while_limited: Share | None  # of the service's GPUs, while the free tier was limited; None: it never was
    slowest_opening: Seconds | None  # from claim to schedulable, of idle nodes; None where none got there
    slowest_drain: Seconds | None  # the same of nodes whose work had to leave first
    ladder: Ladder
    updated: bool  # the version that was shipped in the middle runs everywhere
    lag_p99: Seconds
    statuses: tuple[policy.Told, ...] = ()
    decisions: tuple[Decided, ...] = ()
    moves: tuple[nodes.Move, ...] = ()
    hot_gpu: HotGpu | None = None
    slow_pod: SlowPod | None = None
    broken: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def check(seen: Evidence) -> Findings:
    """Hold the evidence against the promises."""
    story = tuple(steps(seen.before.fleet, seen.writes))
    promises = seen.promises
    lowest = nodes.lowest_ready(seen.before.fleet, story, promises.lender_labels)
    moves = nodes.moves(story)
    statuses = policy.told(seen.writes, promises.policy)
    found = ladder(statuses, seen.writes, (promises.identity, promises.lender))
    return Findings(
        timeline=_timeline(seen, story),
        requests=requests.by_tier(seen.entries, seen.results),
        evictions=sum(write.user == promises.identity for write in pods.accepted_evictions(seen.writes)),
        evicted_saved=evicted_saved(seen.writes, (promises.identity, promises.lender)),
        lender_ready_min=lowest,
        limit_turns_a_minute=requests.most_turns_a_minute(policy.rates(statuses, FREE)),
        loans=len(moves),
        most_loans=nodes.most_loans(seen.before.fleet, story),
        busy_while_limited=_busy_while_limited(seen, moves),
        slowest_opening=_slowest(move for move in moves if not move.drained),
        slowest_drain=_slowest(move for move in moves if move.drained),
        ladder=found,
        updated=seen.after.updated,
        lag_p99=Seconds(quantile((result.lag for result in seen.results), Share(0.99))),
        statuses=statuses,
        decisions=decisions(statuses, moves),
        moves=moves,
        hot_gpu=hot_gpu(seen.glimpses, promises.hot_node),
        slow_pod=_slow_pod(seen),
        broken={
            **_broken(seen, story, lowest),
            "ladderOutOfOrder": out_of_order(found, statuses, promises.on_level),
            "queriesWithoutData": seen.silent_queries,
        },
    )


def _broken(seen: Evidence, story: tuple[Step, ...], lowest: int) -> dict[str, tuple[str, ...]]:
    promises = seen.promises
    work = (seen.before.lenders_pods, seen.after.lenders_pods)
    floor = f"the lender had {lowest} nodes ready, its floor is {promises.lender_floor}"
    return {
        "deletedWithoutEviction": pods.deleted_without_eviction(seen.writes, promises.identity, work),
        "evictedUntold": evicted_untold(seen.writes, (promises.identity, promises.lender)),
        "evictedWithoutUid": pods.evictions_without_uid(seen.writes, promises.identity),
        "researchFloor": (floor,) if lowest < promises.lender_floor else (),
        "freeOverQuota": requests.free_over_quota(seen.entries),
        "paidShedWhileFreeAboveFloor": requests.paid_shed(seen.entries, seen.results, promises.free_floor),
        "epochsFell": nodes.falling_epochs(seen.before.fleet, story),
        "claimsLeft": nodes.unreleased(seen.after.fleet),
        "nodesRestored": nodes.not_restored(seen.before.fleet, seen.after.fleet),
        "journalsAndUsersAgree": requests.unlike(seen.entries, seen.results),
    }


def _slow_pod(seen: Evidence) -> SlowPod | None:
    pod = seen.slow_pod
    return None if pod is None else slow_pod(seen.journals.get(pod.node, ()), pod, seen.surge_at)


def _slowest(moves: Iterable[nodes.Move]) -> Seconds | None:
    return max((move.opening for move in moves if move.opening is not None), default=None)


def _busy_while_limited(seen: Evidence, moves: tuple[nodes.Move, ...]) -> Share | None:
    span = requests.limited_span(seen.entries)
    if span is None:
        return None
    own = seen.promises.owned_gpus * (span[1] - span[0])
    borrowed = seen.promises.gpus_a_node * nodes.lent_seconds(moves, span)
    return requests.busy_share(seen.entries, span, Seconds(own + borrowed))


def _timeline(seen: Evidence, story: tuple[Step, ...]) -> Timeline:
    moves = nodes.moves(story)
    limited = requests.limited_span(seen.entries)
    borrowed = {move.node for move in moves}
    opened = [move.schedulable for move in moves if move.schedulable is not None]
    served = [
        Instant(entry.at + entry.wait)
        for node in borrowed
        for entry in seen.journals.get(node, ())
        if entry.verdict == "admitted"
    ]
    promises = seen.promises
    return Timeline(
        overload_seen=requests.overload_seen(seen.entries, promises.owned_gpus, promises.wait_target),
        first_limit=limited[0] if limited else None,
        first_claim=min((move.claimed for move in moves), default=None),
        first_schedulable=min(opened, default=None),
        first_serving=min(served, default=None),
        limits_lifted=_lifted(seen, limited),
        all_home=_all_home(moves),
        first_drained_open=min((m.schedulable for m in moves if m.drained and m.schedulable is not None), default=None),
    )


def _lifted(seen: Evidence, limited: tuple[Instant, Instant] | None) -> Instant | None:
    """When the free tier's first request without a limit came after the last one under it."""
    if limited is None:
        return None
    return min((entry.at for entry in seen.entries if entry.tier == FREE and entry.at > limited[1]), default=None)


def _all_home(moves: tuple[nodes.Move, ...]) -> Instant | None:
    ends = [move.released for move in moves]
    if not ends or None in ends:
        return None
    return max(end for end in ends if end is not None)
