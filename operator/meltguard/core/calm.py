"""Whether a service would stay calm without one of its loans, by its agents' word and by what could contradict it."""

from typing import Final

from meltguard.core.belief import unheard_share
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.limits import UTILIZATION
from meltguard.core.loan_rules import COVERAGE
from meltguard.core.policy import Level, SignalKind
from meltguard.core.power import unheard_on
from meltguard.core.pressure import TARGET, platform_signals
from meltguard.core.returns import Ebb, going_home
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant

SHADOW_SHARE: Final = 0.8
"""A node may go if the offered demand would take at most this share of the smaller pool's budget."""


def stays_calm_without(ebb: Ebb, lost: float) -> bool:
    """The shadow check: with so much of the capacity gone and nothing limited, the service would still be calm."""
    if ebb.demand is None or not ebb.capacity or ebb.limited or ebb.level is not Level.NORMAL:
        return False
    demand = ebb.demand * unheard_share(ebb.seen.heard)
    return demand <= SHADOW_SHARE * UTILIZATION * max(0.0, ebb.capacity - lost)


def _done_by(ebb: Ebb, node: NodeView) -> float:
    """What the service would lose with a node: nothing where nothing of it serves there yet."""
    return ebb.by_node.get(node.name, 0.0) + (unheard_on(node, ebb.seen, ebb.rates) if ebb.rates else 0.0)


def spare_since(ebb: Ebb) -> Instant | None:
    """Since when one loan could have gone; None while none could."""
    lost = _spared(ebb)
    if lost is None or contradiction(ebb, lost):
        return None
    return ebb.memory.spare_since if ebb.memory.spare_since is not None else ebb.now


def kept_by(ebb: Ebb) -> str:
    """Why no loan goes home although the agents tell of calm; "" where they do not, or one does go."""
    lost = _spared(ebb)
    return "" if lost is None else contradiction(ebb, lost)


def _spared(ebb: Ebb) -> float | None:
    """The most that would go with one loan, in units a second; None where none could by the agents' word."""
    lent = [node for node in ebb.seen.loans if node.claim and node.claim.step is MoveStep.LENT]
    if not lent or going_home(ebb.seen) or _is_updating(ebb.seen) or len(lent) <= ebb.seen.plan.least:
        return None
    lost = max(_done_by(ebb, node) for node in lent)
    return lost if stays_calm_without(ebb, lost) else None


def contradiction(ebb: Ebb, lost: float) -> str:
    """What speaks against the calm that agents tell of: agents that do not, or the platform; unknown is not calm.

    GPUs that work while counters stand still are no calm; nor are those whose work would not fit on fewer.
    """
    if ebb.seen.coverage < COVERAGE:
        return f"{len(ebb.seen.believed)} of {ebb.seen.ready_pods} ready pods answer, so that the demand is not known"
    by_name, capacity = {signal.name: signal for signal in ebb.policy.signals}, ebb.capacity or 0.0
    for signal in platform_signals(ebb.policy, ebb.signals):
        if signal.value is None:
            return f"{signal.name} is unknown ({signal.problem})"
        asked = by_name[signal.name]
        if asked.kind is SignalKind.GPU_UTILIZATION and signal.value * capacity > asked.target * (capacity - lost):
            return f"{signal.name} {signal.value:.0f} % would be above {asked.target:.0f} % without it"
        if signal.pressure is not None and signal.pressure >= TARGET:
            return f"{signal.name} is at {signal.value:.0f} {signal.unit}".rstrip()
    return ""


def _is_updating(seen: Snapshot) -> bool:
    """Pods that leave a node for the update would come back to it, and those that are to go could not be told apart."""
    return seen.rollout is not None and seen.rollout.updating
