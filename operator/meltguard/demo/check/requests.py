"""Promises about requests, checked on the agents' own journals and on what the users saw."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from meltguard.agent.journal import JournalEntry
from meltguard.agent.refusal import FOR_CAPACITY
from meltguard.core.units import Instant, Seconds, Share
from meltguard.demo.plan import FREE, FREE_IMAGES_A_DAY, PAID
from meltguard.demo.records import Result
from meltguard.sim.ledger import quantile

WINDOW: Final = Seconds(1.0)
LASTING: Final = Seconds(1.0)
"""A single large request in a queue is no overload: what shows for less than this does not count."""

BINDING: Final = frozenset({"Delay", "Reject", "Suspend"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRequests:
    """One tier's requests over the whole run."""

    offered: int
    admitted: int
    waited: int  # admitted, but not at once
    refused: int
    refused_for: Mapping[str, int]  # requests by reason, the most frequent first
    wait_p50: Seconds  # of the admitted
    wait_p99: Seconds


def by_tier(entries: Sequence[JournalEntry], results: Iterable[Result]) -> dict[str, TierRequests]:
    """The tiers' figures, from the agents' journals; what one pod passed on to another counts once, there."""
    tiers: defaultdict[str, list[JournalEntry]] = defaultdict(list)
    for entry in entries:
        tiers[entry.tier].append(entry)
    passed: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        passed[result.tier].update(turned.reason for turned in result.turned if turned.passed_on)
    return {tier: _figures(of_tier, passed[tier]) for tier, of_tier in sorted(tiers.items())}


def _figures(entries: Sequence[JournalEntry], passed: Counter[str]) -> TierRequests:
    waits = [entry.wait for entry in entries if entry.verdict == "admitted"]
    reasons = Counter(entry.reason for entry in entries if entry.verdict == "refused") - passed
    return TierRequests(
        offered=len(entries) - passed.total(),
        admitted=len(waits),
        waited=sum(wait > 0 for wait in waits),
        refused=reasons.total(),
        refused_for=dict(reasons.most_common()),
        wait_p50=Seconds(quantile(waits, Share(0.50))),
        wait_p99=Seconds(quantile(waits, Share(0.99))),
    )


def free_over_quota(entries: Iterable[JournalEntry]) -> tuple[str, ...]:
    """Free users who received more images in one UTC day than the quota, as sentences."""
    received: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        if entry.tier == FREE and entry.delivered:
            received[entry.user, _utc_day(entry.at)] += (
                entry.images if entry.made is None else min(entry.made, entry.images)
            )
    return tuple(
        f"{user} had {images} images on {day}"
        for (user, day), images in sorted(received.items())
        if images > FREE_IMAGES_A_DAY
    )


def _utc_day(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def paid_shed(entries: Iterable[JournalEntry], results: Iterable[Result], floor: Share) -> tuple[str, ...]:
    """Windows in which a paid user was refused for capacity while the free tier had more than its floor.

    The floor is its share of all image units admitted in that window, or one request, whichever is more: less than one
    request cannot be admitted.
    """
    admitted: defaultdict[int, list[JournalEntry]] = defaultdict(list)
    for entry in entries:
        if entry.verdict == "admitted":
            admitted[_window(entry.at + entry.wait)].append(entry)
    shed = Counter(
        _window(turned.at)
        for result in results
        if result.tier in PAID
        for turned in result.turned
        if turned.reason in FOR_CAPACITY and not turned.passed_on
    )
    return tuple(
        f"{count} paid requests refused at {_time(window)} while free had {free:.0f} units, floor {kept:.1f}"
        for window, count in sorted(shed.items())
        for free, kept in [_free_and_floor(admitted[window], floor)]
        if free > kept
    )


def _window(at: float) -> int:
    return int(at // WINDOW)


def _free_and_floor(admitted: Sequence[JournalEntry], floor: Share) -> tuple[float, float]:
    free = [entry.units for entry in admitted if entry.tier == FREE]
    total = sum(entry.units for entry in admitted)
    return sum(free), max(floor * total, max(free, default=0.0))


def _time(window: int) -> str:
    return datetime.fromtimestamp(window * WINDOW, UTC).strftime("%H:%M:%S")


def limited_span(entries: Iterable[JournalEntry]) -> tuple[Instant, Instant] | None:
    """When a pod first and last decided under a temporary limit of the free tier; None where none ever did."""
    under = [entry.at for entry in entries if entry.tier == FREE and _limited(entry)]
    return (min(under), max(under)) if under else None


def _limited(entry: JournalEntry) -> bool:
    return entry.source == "Lease" and entry.state in BINDING and (entry.rate is not None or entry.state == "Suspend")


def busy_share(entries: Iterable[JournalEntry], span: tuple[Instant, Instant], gpu_seconds: Seconds) -> Share | None:
    """How busy GPUs were in a span that had so many GPU-seconds; None where it had none.

    A limit that leaves GPUs idle turns people away for nothing.
    """
    begin, end = span
    if gpu_seconds <= 0:
        return None
    starts = ((entry.at + entry.wait, entry.took) for entry in entries if entry.verdict == "admitted")
    busy = sum(max(0.0, min(end, start + took) - max(begin, start)) for start, took in starts)
    return Share(min(1.0, busy / gpu_seconds))


def unlike(entries: Sequence[JournalEntry], results: Sequence[Result]) -> tuple[str, ...]:
    """Where the agents' journals and the users' own notes do not add up, as sentences.

    Every entry is admitted, refused or gone; images that users hold are images that agents delivered, and what an agent
    turned away it wrote down.
    """
    said = sum(entry.images for entry in entries if entry.delivered)
    had = sum(result.images for result in results if result.status == 200)  # noqa: PLR2004 - HTTP
    turned = sum(bool(one.reason) for result in results for one in result.turned)
    refused = sum(entry.verdict == "refused" for entry in entries)
    odd = Counter(entry.verdict for entry in entries if entry.verdict not in {"admitted", "refused", "gone"})
    return tuple(
        [f"{count} journal lines end as {verdict!r}" for verdict, count in sorted(odd.items())]
        + ([f"users had {had} images, the journals say {said} were delivered"] if had > said else [])
        + ([f"users were refused {turned} times, the journals say {refused}"] if turned > refused else [])
    )


def overload_seen(entries: Sequence[JournalEntry], gpus: int, wait_target: Seconds) -> Instant | None:
    """When what waited in the pods first meant a wait above the policy's target for LASTING; None where it never did.

    From the journals alone: units in the queues, over the units a second that these GPUs deliver when they work.
    """
    worked = sum(entry.took for entry in entries if entry.delivered)
    if worked <= 0:
        return None
    rate = gpus * sum(entry.units for entry in entries if entry.delivered) / worked
    waited = [entry for entry in entries if entry.wait > 0]
    came = [(entry.at, entry.units) for entry in waited]
    went = [(Instant(entry.at + entry.wait), -entry.units) for entry in waited]
    return _first_above(sorted(came + went), wait_target * rate)


def _first_above(changes: Iterable[tuple[Instant, float]], bound: float) -> Instant | None:
    waiting = 0.0
    since: Instant | None = None
    for at, units in changes:
        if since is not None and at - since >= LASTING:
            return since
        waiting += units
        since = None if waiting <= bound else since if since is not None else at
    return None


def most_turns_a_minute(rates: Sequence[tuple[Instant, float]]) -> int:
    """The most changes of direction of a limit within any 60 s; changes of less than 5 % are noise."""
    turns: list[Instant] = []
    rising: bool | None = None
    last = rates[0][1] if rates else 0.0
    for at, rate in rates[1:]:
        if abs(rate - last) < 0.05 * max(rate, last, 1e-9):
            continue
        if rising is not None and rising != (rate > last):
            turns.append(at)
        rising, last = rate > last, rate
    return max((sum(start <= turn < start + 60.0 for turn in turns) for start in turns), default=0)


def first_admitted(entries: Iterable[JournalEntry], nodes: Mapping[str, str]) -> dict[str, Instant]:
    """When each node's first request was admitted; `nodes` tells a pod's node."""
    first: dict[str, Instant] = {}
    for entry in entries:
        node = nodes.get(entry.pod)
        if node is not None and entry.verdict == "admitted":
            first[node] = min(first.get(node, entry.at), entry.at)
    return first
