"""What `kubectl meltguard` prints: from a policy's status to lines. The words are the status's own."""

from collections.abc import Iterator, Sequence
from typing import Final

from meltguard.api.conditions import ConditionStatus
from meltguard.api.policy import ImageServicePolicy
from meltguard.api.policy_status import CostStatus, LimitStatus, PolicyStatus, SignalStatus, TrialStatus
from meltguard.api.to_core import read_override
from meltguard.clock import parse_rfc3339, rfc3339
from meltguard.controller.policies import WHY_PAUSED
from meltguard.core.units import Instant, Seconds

Row = Sequence[str]
Section = tuple[str, list[str]]

STATUS_COLUMNS = ("NAMESPACE", "POLICY", "OK", "MODE", "LEVEL", "LIMITS", "LOANS", "WHY")
WIDE_STATUS_COLUMNS = (*STATUS_COLUMNS[:-1], "PRESSURE", "DEMAND", "CAPACITY", "SINCE", "NEXT", "WHY")
LIMIT_COLUMNS = ("POLICY", "TIER", "STATE", "LIMIT", "DEMAND", "SINCE", "CAUSE")
OVERRIDE_COLUMNS = ("SETS", "UNTIL", "BY", "REASON")
WIDE_LIMIT_COLUMNS = (*LIMIT_COLUMNS, "LIFTS WHEN", "MESSAGE")
GOOD, BAD = (
    frozenset({"Ready", "MetricsAvailable", "Enforced", "QuotasCounted"}),
    frozenset({"Stalled", "BorrowingBlocked"}),
)
"""Conditions that should be True, and such that should not; of the others either is well."""
SILENT: Final = Seconds(120.0)
"""A running operator writes each status every ten seconds; the rest is for clocks that differ."""
NOBODY_LOOKED: Final = "the operator has not looked at it yet; is it running?"


def table(rows: Sequence[Row]) -> list[str]:
    """Aligned columns, as kubectl has them.

    >>> table([("A", "BB"), ("1", "2")])
    ['A   BB', '1   2']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def overview(policy: ImageServicePolicy, now: Instant, *, wide: bool) -> Row:
    """Ok? Doing what? Why? In one line."""
    status, said = policy.status, _said(policy.status, now)
    row = (
        policy.metadata.namespace,
        policy.metadata.name,
        _ready(status, now),
        status.mode or policy.spec.mode,
        status.level or "?",
        status.acknowledged or "?",
        str(status.loan_count or 0),
    )
    if not wide:
        return (*row, said)
    decision = status.decision
    numbers = ("?", "?", "?") if decision is None else (decision.demand, decision.capacity, decision.next_change)
    demand, capacity, then = (number or "?" for number in numbers)
    return (*row, status.pressure or "?", demand, capacity, status.level_since or "?", then, said)


def page(policy: ImageServicePolicy, now: Instant) -> list[str]:
    """One policy on a page."""
    status = policy.status
    head = [
        f"{policy.metadata.namespace}/{policy.metadata.name}: {_said(status, now)}",
        (
            f"mode {status.mode or policy.spec.mode}, level {status.level or '?'} since {status.level_since or '?'}, "
            f"pressure {status.pressure or '?'}; limits acknowledged by {status.acknowledged or '?'}"
        ),
    ]
    if status.level_lifts_when:
        head.append(f"level {status.level} lifts when {status.level_lifts_when}")
    because = policy.metadata.annotations.get(WHY_PAUSED)
    if because:
        head.append(f"paused: {because}")
    if status.decision is not None and status.decision.next_change:
        head.append(f"next: {status.decision.next_change}")
    parts = (
        ("signals", [_signal(signal) for signal in status.signals]),
        ("tiers", [_limit(limit) for limit in status.limits]),
        *_measures(status),
        ("laggards", [f"{one.pod}: {one.cause}, since {one.since}" for one in status.laggards]),
        ("not as it should be", list(troubles(status))),
    )
    return [*head, *_sections(parts)]


def _measures(status: PolicyStatus) -> tuple[Section, ...]:
    """What holds beside the limits."""
    return (
        ("features", list(_features(status))),
        ("updates", _updates(status)),
        ("overrides", _overrides(status)),
        ("loans", list(_loans(status))),
    )


def _sections(parts: Sequence[Section]) -> list[str]:
    """Each that has lines, under its title."""
    return [line for title, lines in parts if lines for line in (f"{title}:", *(f"  {one}" for one in lines))]


def why(policy: ImageServicePolicy, now: Instant, *, history: bool) -> list[str]:
    """The last decision, explained; with `history` also what changed lately."""
    status = policy.status
    decision = status.decision
    if decision is None:
        return [f"{policy.metadata.name}: the operator has not decided anything yet; is it running?"]
    lines = [
        f"{policy.metadata.namespace}/{policy.metadata.name}: {_said(status, now)}",
        (
            f"decided at {decision.at}: {decision.answering_pods} of {decision.ready_pods} pods answer, demand "
            f"{decision.demand or '?'}, capacity {decision.capacity or 'not measured yet'}, shared out "
            f"{decision.budget or 'nothing yet'}"
        ),
        *(f"  {_signal(signal)}" for signal in status.signals),
    ]
    lines += [f"  {_limit(limit)}" for limit in status.limits if limit.cause]
    lines += _sections(_measures(status))
    if decision.rules:
        lines.append("to borrow a node:")
        lines += [f"  {'yes' if one.holds else 'no '}  {one.rule}: {one.text}" for one in decision.rules]
    if decision.unblocked_by:
        earliest = f"; possible from {decision.possible_from} on" if decision.possible_from else ""
        lines.append(f"a loan waits for: {decision.unblocked_by}{earliest}")
    lines.append(f"next: {decision.next_change or 'nothing is due'}")
    if history:
        lines.append("lately, the newest first:")
        lines += [f"  {one.at}  {one.reason}: {one.text}" for one in status.history] or ["  nothing changed"]
    return lines


def limit_rows(policy: ImageServicePolicy, *, wide: bool) -> Iterator[Row]:
    """One line a tier."""
    for limit in policy.status.limits:
        row = (
            f"{policy.metadata.namespace}/{policy.metadata.name}",
            limit.tier,
            str(limit.state),
            limit.rate,
            limit.demand or "",
            limit.since or "",
            limit.cause or "",
        )
        yield (*row, limit.lifts_when or "", limit.message or "") if wide else row


def override_rows(policy: ImageServicePolicy, now: Instant) -> list[Row]:
    """One line an override of the spec; one whose time is over says so."""
    found = [read_override(spec) for spec in policy.spec.overrides]
    return [
        (one.sets, rfc3339(one.until) + (" (over)" if one.until <= now else ""), one.by, one.reason) for one in found
    ]


def silence(status: PolicyStatus, now: Instant) -> str:
    """What to say where no operator has decided for too long; nothing where one has."""
    if status.decision is None:
        return ""
    age = now - parse_rfc3339(status.decision.at)
    if age <= SILENT:
        return ""
    return f"nothing was decided since {status.decision.at}, {age / 60.0:.0f} min ago: is the operator running?"


def troubles(status: PolicyStatus) -> Iterator[str]:
    """Conditions that are not as they should be."""
    for one in status.conditions:
        holds = one.status is ConditionStatus.TRUE
        if holds == (one.type in BAD) and one.type in GOOD | BAD:
            yield f"{one.type} is {one.status.value} ({one.reason}): {one.message}"


def _said(status: PolicyStatus, now: Instant) -> str:
    if not status.why:
        return NOBODY_LOOKED
    silent = silence(status, now)
    return f"{silent} It said: {status.why}" if silent else status.why


def _ready(status: PolicyStatus, now: Instant) -> str:
    if silence(status, now):
        return "no: Silent"
    ready = next((one for one in status.conditions if one.type == "Ready"), None)
    if ready is None:
        return "?"
    return "yes" if ready.status is ConditionStatus.TRUE else f"no: {ready.reason}"


def _signal(signal: SignalStatus) -> str:
    if signal.unknown:
        return f"{signal.name} is unknown: {signal.unknown}"
    return f"{signal.name} {signal.value}, pressure {signal.pressure}, {signal.age_seconds or 0} s old"


def _limit(limit: LimitStatus) -> str:
    said = f"{limit.tier} {limit.state}, limit {limit.rate}, demand {limit.demand or '?'}"
    if not limit.cause:
        return said
    return f"{said}, since {limit.since}: {limit.cause}; lifts when {limit.lifts_when}"


def _features(status: PolicyStatus) -> Iterator[str]:
    for one in status.features:
        lifts = f"; lifts when {one.lifts_when}" if one.lifts_when else ""
        yield f"{one.name} {one.rollout}" + (f", since {one.since}: {one.cause}{lifts}" if one.cause else "")


def _updates(status: PolicyStatus) -> list[str]:
    held = status.rollouts
    if held is None:
        return []
    said = str(held.state) + (f" since {held.since}" if held.since else "") + (f": {held.cause}" if held.cause else "")
    said += f"; they go on when {held.lifts_when}" if held.lifts_when else ""
    return [said, *([] if held.trial is None else _trial(held.trial))]


def _trial(trial: TrialStatus) -> Iterator[str]:
    pods = "" if trial.pods is None else f" on {trial.pods} pod" + ("" if trial.pods == 1 else "s")
    yield f"trial of an update: {trial.stage}{pods} since {trial.since}"
    if trial.cost is not None:
        yield f"GPU time for an image, against before: {_cost(trial.cost)}"
    if trial.cost_here is not None:
        yield f"at this share of the pods alone: {_cost(trial.cost_here)}"
    for one in trial.revisions:
        which = "the update" if one.update else "before"
        yield f"revision {one.revision} ({which}): {one.images_per_gpu_second} images a GPU-second"


def _cost(cost: CostStatus) -> str:
    bounds = "" if cost.mean is None else f"{cost.mean} ({cost.least} to {cost.most}), "
    return f"{bounds}{cost.samples} samples"


def _overrides(status: PolicyStatus) -> list[str]:
    return [
        f"{one.sets}, until {one.until}: {one.reason}" + (f" ({one.by})" if one.by else "") for one in status.overrides
    ]


def _loans(status: PolicyStatus) -> Iterator[str]:
    for one in status.loans:
        promised = f"promised back by {one.promised_return}"
        yield (
            f"{one.node} of {one.home}, {one.step}, since {one.since}, {promised}"
            + (f": {one.why}" if one.why else "")
            + (f"; it waits: {one.waits_for}" if one.waits_for else "")
        )
