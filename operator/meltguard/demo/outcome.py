"""The outcome of a run in a few plain lines, from what was measured."""

from collections.abc import Iterator, Mapping
from typing import Final

from meltguard.core.units import Instant
from meltguard.core.wording import counted
from meltguard.demo.check.nodes import Move
from meltguard.demo.check.policy import a_minute
from meltguard.demo.check.requests import TierRequests
from meltguard.demo.checker import Findings
from meltguard.demo.facts import RunFacts
from meltguard.demo.plan import FREE, PLUS, PRO
from meltguard.demo.story import since

SUSPENDED: Final = "tier-suspended"
SHOWN: Final = 4
"""Reasons for refusals that are told one by one."""

REFUSED: Final[Mapping[str, str]] = {
    "feature-slowed": "for the slowed feature",
    SUSPENDED: "while the tier was suspended",
    "daily-quota": "over their day's quota",
    "over-rate": "over the tier's limit",
    "wait-too-long": "whose wait would have been too long",
    "waited-out": "who waited too long",
}
"""Reasons in words."""


def outcome(found: Findings, facts: RunFacts) -> tuple[tuple[str, str], ...]:
    """Title and sentence, five of them: the surge, the tiers, the loans, research, the person and the crash."""
    return (
        ("the surge", _surge(found)),
        ("the users", _users(found)),
        ("the loans", _loans(found, facts)),
        ("research", _research(found, facts)),
        ("a person, a crash", _people(found, facts)),
    )


def _surge(found: Findings) -> str:
    asked, could = _peak(found)
    offered = sum(tier.offered for tier in found.requests.values())
    if not could:
        return f"{offered} requests were sent; what the GPUs can do was never measured"
    return (
        f"{offered} requests were sent; at the peak they asked for {asked:.0f} image units a minute, "
        f"{asked / could:.1f} times the {could:.0f} that the service's own GPUs were measured to do"
    )


def _peak(found: Findings) -> tuple[float, float]:
    """The most that was asked for, and what the GPUs could do before any was borrowed."""
    told = [
        (one.at, a_minute(one.status.decision.demand), a_minute(one.status.decision.capacity)) for one in found.statuses
    ]
    first = min((move.schedulable for move in found.moves if move.schedulable is not None), default=None)
    asked = [demand for _, demand, _ in told if demand > 0]
    could = [can for at, _, can in told if can > 0 and (first is None or at < first)]
    return max(asked, default=0.0), max(could, default=0.0)


def _users(found: Findings) -> str:
    said = [f"{name} {_had(found.requests[name])}" for name in (PRO, PLUS, FREE) if name in found.requests]
    return "\n".join(said) or "nobody asked for anything"


def _had(tier: TierRequests) -> str:
    reasons = list(tier.refused_for.items())
    told = [f"{count} {REFUSED.get(reason, reason)}" for reason, count in reasons[:SHOWN]]
    others = sum(count for _, count in reasons[SHOWN:])
    refused = ", ".join([*told, f"{others} for other reasons"] if others else told)
    said = f"got {tier.admitted} of {tier.offered} requests ({tier.admitted / max(1, tier.offered):.0%})"
    said += f"; 99 of 100 of those waited at most {tier.wait_p99:.1f} s"
    return said + (f"; refused: {refused}" if refused else "")


def _loans(found: Findings, facts: RunFacts) -> str:
    lent = [move for move in found.moves if move.schedulable is not None]
    if not lent:
        return "no node was borrowed"
    nodes = ", ".join(_loan(move, facts) for move in lent)
    home, back = found.timeline.all_home, not found.broken.get("nodesRestored")
    said = f"{counted(len(lent), 'node was', 'nodes were')} borrowed ({nodes})"
    if home is None:
        return f"{said}; not all are home"
    as_found = "with labels, taints and cordon as they were" if back else "NOT as they were"
    return f"{said}; all were home at {since(home, facts.surge_at):.0f} s, {as_found}"


def _loan(move: Move, facts: RunFacts) -> str:
    opened = "" if move.opening is None else f", open after {move.opening:.0f} s"
    left = "its work moved out" if move.drained else "idle"
    return f"{move.node} at {since(move.claimed, facts.surge_at):.0f} s, {left}{opened}"


def _research(found: Findings, facts: RunFacts) -> str:
    broken = [move for move in found.moves if move.drained]
    kept = f"it never had fewer than {found.lender_ready_min} nodes ready, its floor is {facts.floor}"
    if not broken:
        return f"no work was broken off; {kept}"
    lost = sum(move.work_lost for move in broken)
    names = ", ".join(dict.fromkeys(name for move in broken for name in move.victims))
    told = "NOT all told before" if found.broken.get("evictedUntold") else "told before"
    pods = counted(found.evictions, "pod was", "pods were")
    saved = f"{found.evicted_saved} of {found.evictions} had saved by then what was at stake ({lost:.2f} GPU-hours)"
    return f"{pods} evicted ({names}), {told}, and {saved}; {kept}"


def _people(found: Findings, facts: RunFacts) -> str:
    return "; ".join((*_person(found, facts), *_crash(found, facts))) or "nobody stepped in, nothing crashed"


def _person(found: Findings, facts: RunFacts) -> Iterator[str]:
    began, ended = found.ladder.override_began, found.ladder.override_ended
    if began is None:
        return
    tiers = found.requests.values()
    turned = sum(tier.refused_for.get(SUSPENDED, 0) for tier in tiers)
    span = f"from {since(began, facts.surge_at):.0f} s on" if ended is None else f"for {ended - began:.0f} s"
    yield f"a person's word suspended the free tier {span}: {turned} requests were refused for it, then the law went on"


def _crash(found: Findings, facts: RunFacts) -> Iterator[str]:
    killed = facts.act("killed")
    if killed is None:
        return
    yield f"the operator was killed at {since(killed.at, facts.surge_at):.0f} s, {_gap(found, killed.at)}"


def _gap(found: Findings, killed: Instant) -> str:
    again = found.ladder.next_term
    before = [one.status for one in found.statuses if one.at <= killed]
    after = next((one.status for one in found.statuses if one.at == again), None)
    if again is None or after is None or not before:
        return "and no other took over"
    was, now = (f"level {one.level}, {counted(one.loan_count, 'loan')}" for one in (before[-1], after))
    return f"its successor went on {again - killed:.0f} s later ({was} before, {now} after)"
