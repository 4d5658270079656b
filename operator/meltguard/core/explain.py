"""The words of a decision: one wording for the same fact everywhere."""

from dataclasses import dataclass
from typing import Final

from meltguard.core.decision import FeatureShare, Outcome, SignalPressure, TierLimit
from meltguard.core.fleet import HOMEWARD, MoveStep
from meltguard.core.level import ENTER, LevelNow, pressure_to_leave
from meltguard.core.next_move import next_move
from meltguard.core.policy import Level, Mode, Override, Policy, TierState
from meltguard.core.rollout_state import Rollouts, RolloutState
from meltguard.core.seen import Plan, Snapshot
from meltguard.core.units import Instant
from meltguard.core.wording import per_minute, when

UPDATES: Final = {
    RolloutState.HELD: "updates held",
    RolloutState.TRYING: "an update is tried",
    RolloutState.PROMOTED: "an update that costs less goes on",
}

LEARNING = "just started: reading what the pods hold; nothing is issued yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What holds now, from the mildest to the hardest measure."""

    features: tuple[FeatureShare, ...]
    rollouts: Rollouts | None
    tiers: tuple[TierLimit, ...]
    overrides: tuple[Override, ...] = ()


def one_line(policy: Policy, level: tuple[LevelNow, SignalPressure | None], measures: Measures, seen: Snapshot) -> str:
    """Ok? Doing what? Why? For `kubectl get isp`."""
    tiers = measures.tiers
    parts = [_level_part(*level)]
    parts += [f"{one.name} for {one.share}% of users" for one in measures.features if one.cause]
    if measures.rollouts is not None and measures.rollouts.state in UPDATES:
        parts.append(UPDATES[measures.rollouts.state])
    parts += [_tier_part(limit) for limit in tiers if limit.state is not TierState.OPEN]
    parts += [f"override {one.sets}" + (f" by {one.by}" if one.by else "") for one in measures.overrides]
    doubted = sum(bool(load.doubt) for load in seen.loads)
    if doubted:
        parts.append(f"{doubted} of {len(seen.loads)} agents not believed")
    if seen.plan.least:
        parts.append(seen.plan.why)
    loans = _loan_part(seen)
    if loans:
        parts.append(loans)
    if policy.mode is not Mode.ENFORCE:
        parts.insert(0, "shadow: nothing is enforced" if policy.mode is Mode.SHADOW else "paused: no new move")
    return "; ".join(parts)


def signal_text(signal: SignalPressure) -> str:
    """A signal in words: `wait 6.1 s`, `temperature unknown (stale: ...)`."""
    if signal.value is None:
        return f"{signal.name} unknown ({signal.problem})"
    shown = f"{signal.value:.2f}" if signal.value < 10 else f"{signal.value:.0f}"  # noqa: PLR2004 - two digits suffice
    return f"{signal.name} {shown} {signal.unit}".strip()


def _level_part(now: LevelNow, top: SignalPressure | None) -> str:
    level, pressure = now.level, now.pressing.on(now.level)
    if now.forced is not None:
        return f"{level.label} by override" + ("" if top is None else f": {signal_text(top)}")
    if top is None or top.pressure is None:
        return f"{level.label} is held: no driving signal is known"
    if level is Level.NORMAL:
        return f"calm: {signal_text(top)}" if top.pressure < 1.0 else f"rising: {signal_text(top)}"
    if pressure is not None and pressure < ENTER[level]:
        return f"{level.label} until {pressure_to_leave(level)} lasts: {signal_text(top)}"
    return f"{level.label}: {signal_text(top)}"


def _tier_part(limit: TierLimit) -> str:
    if limit.state is TierState.SUSPEND:
        return f"{limit.tier} suspended"
    return f"{limit.tier} {limit.state.value.lower()}ed to {per_minute(limit.rate)}"


def _loan_part(seen: Snapshot) -> str:
    claims = [node.claim for node in seen.loans if node.claim]
    lent = sum(claim.step is MoveStep.LENT for claim in claims)
    home = sum(claim.step in HOMEWARD for claim in claims)
    coming = len(claims) - lent - home
    words = [(coming, "arriving"), (lent, "borrowed"), (home, "going home")]
    said = ", ".join(f"{count} {what}" for count, what in words if count)
    return f"nodes: {said}" if said else ""


def next_change(
    policy: Policy,
    level: LevelNow,
    tiers: tuple[TierLimit, ...],
    capacity: tuple[tuple[Outcome, ...], tuple[Instant | None, str], Plan],
    now: Instant,
) -> str:
    """What is earliest to change, or what would unblock it."""
    rules, (spare, kept), plan = capacity
    said = [_next_level(policy, level, now)]
    said += [f"the limit of {one.tier} lifts when {one.lifts_when}" for one in tiers if one.cause][:1]
    waits_for = next_move(rules).waits_for
    if waits_for and level.level is not Level.NORMAL:
        said.append(f"no loan now: {waits_for}")
    if plan.why and not plan.least:
        said.append(plan.why)
    if spare is not None and policy.capacity is not None:
        left = max(0.0, policy.capacity.return_after - (now - spare))
        said.append(f"a node goes home in {left:.0f} s if it stays calm")
    if kept:
        said.append(f"the agents tell of calm, but no node goes home: {kept}")
    return "; ".join(filter(None, said)) or "nothing is due"


def _next_level(policy: Policy, level: LevelNow, now: Instant) -> str:
    if level.forced is not None:
        return f"level {level.level.label} ends with its override at {when(level.forced.until)}"
    if level.level is Level.NORMAL:
        return ""
    if level.paused:
        return f"level {level.level.label} stays until the policy is resumed"
    calm_since = level.law.calm_since
    left = policy.dwell if calm_since is None else max(0.0, policy.dwell - (now - calm_since))
    ends = f"{level.sight}{pressure_to_leave(level.level)} lasts for {left:.0f} s more"
    return f"{level.level.label} steps down once {ends}"
