"""Whether a service would stay calm without one of its loans, by its agents' word and by what could contradict it."""

from typing import Final

from meltguard.core.belief import unheard_share
from meltguard.core.fleet import HOMEWARD, MoveStep, NodeView
from meltguard.core.limits import UTILIZATION
from meltguard.core.loan_rules import COVERAGE
from meltguard.core.policy import Level, SignalKind
from meltguard.core.pressure import TARGET, platform_signals
from meltguard.core.returns import Ebb
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, Instant

SHADOW_SHARE: Final = 0.8
"""A node may go if the offered demand would take at most this share of the smaller pool's budget."""


def stays_calm_without(ebb: Ebb, gpus: Gpus) -> bool:
    """The shadow check: with these GPUs gone and nothing limited, the service would still be calm."""
    if ebb.demand is None or not ebb.per_gpu or ebb.limited or ebb.level is not Level.NORMAL:
        return False
    demand = ebb.demand * unheard_share(ebb.seen.believed)
    return demand <= SHADOW_SHARE * UTILIZATION * ebb.per_gpu * max(0, ebb.gpus - gpus)


def _serving_on(seen: Snapshot, node: NodeView) -> Gpus:
    """GPUs that the service would lose with a node: none where nothing of it serves there yet.

    A Ready pod whose agent is silent serves, as far as anybody knows.
    """
    namespace = node.claim.policy.partition("/")[0] if node.claim else ""
    ready = (pod.gpus for pod in node.movable_pods if pod.namespace == namespace and pod.ready)
    answering = (load.gpus for load in seen.loads if load.node == node.name)
    return Gpus(max(sum(ready), sum(answering)))


def spare_since(ebb: Ebb) -> Instant | None:
    """Since when one loan could have gone; None while none could."""
    gpus = _spared(ebb)
    if gpus is None or contradiction(ebb, gpus):
        return None
    return ebb.memory.spare_since if ebb.memory.spare_since is not None else ebb.now


def kept_by(ebb: Ebb) -> str:
    """Why no loan goes home although the agents tell of calm; "" where they do not, or one does go."""
    gpus = _spared(ebb)
    return "" if gpus is None else contradiction(ebb, gpus)


def _spared(ebb: Ebb) -> Gpus | None:
    """The most GPUs that would go with one loan; None where none could by the agents' word."""
    lent = [node for node in ebb.seen.loans if node.claim and node.claim.step is MoveStep.LENT]
    leaving = any(n.claim and n.claim.step in HOMEWARD for n in ebb.seen.loans)
    if not lent or leaving or _is_updating(ebb.seen) or len(lent) <= ebb.seen.plan.least:
        return None
    gpus = max(_serving_on(ebb.seen, node) for node in lent)
    return gpus if stays_calm_without(ebb, gpus) else None


def contradiction(ebb: Ebb, gpus: Gpus) -> str:
    """What speaks against the calm that agents tell of: agents that do not, or the platform; unknown is not calm.

    GPUs that work while counters stand still are no calm; nor are those whose work would not fit on fewer.
    """
    if ebb.seen.coverage < COVERAGE:
        return f"{len(ebb.seen.believed)} of {ebb.seen.ready_pods} ready pods answer, so that the demand is not known"
    by_name = {signal.name: signal for signal in ebb.policy.signals}
    for signal in platform_signals(ebb.policy, ebb.signals):
        if signal.value is None:
            return f"{signal.name} is unknown ({signal.problem})"
        asked = by_name[signal.name]
        if asked.kind is SignalKind.GPU_UTILIZATION and signal.value * ebb.gpus > asked.target * (ebb.gpus - gpus):
            return f"{signal.name} {signal.value:.0f} % would be above {asked.target:.0f} % without it"
        if signal.pressure is not None and signal.pressure >= TARGET:
            return f"{signal.name} is at {signal.value:.0f} {signal.unit}".rstrip()
    return ""


def _is_updating(seen: Snapshot) -> bool:
    """Pods that leave a node for the update would come back to it, and those that are to go could not be told apart."""
    return seen.rollout is not None and seen.rollout.updating
