"""Work of the lender's own that waits for its nodes and outranks the borrower's."""

from collections.abc import Mapping, Sequence
from typing import Final

from meltguard.core.fleet import NodeView, PodView
from meltguard.core.policy import Pool
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, Seconds

PATIENCE: Final = Seconds(60.0)
"""So long no node must have fitted: what the scheduler places by itself calls nothing home."""


def outranking(seen: Snapshot, pool: Pool, nodes: Sequence[NodeView], now: Instant) -> PodView | None:
    """The pod of highest priority, above the borrower's, that waits for one of these nodes of the pool.

    Work that a loan displaced is never among them: it was evicted because its priority is not above.
    """
    waiting = [
        pod
        for pod in seen.pending
        if pod.priority > seen.priority
        and pod.stuck_since is not None
        and now - pod.stuck_since >= PATIENCE
        and any(wants(pod, node, pool) for node in nodes)
    ]
    return max(waiting, key=_rank, default=None)


def wants(pod: PodView, node: NodeView, pool: Pool) -> bool:
    """Whether the node, as it is at home, would do: the pod asks for the pool by one of its labels, and for no more."""
    asked = pod.node_selector.items()
    fits = pod.gpus <= node.gpus_for(pod.gpu_kinds)
    return bool(asked & pool.labels.items()) and asked <= _at_home(node).items() and fits


def _at_home(node: NodeView) -> Mapping[str, str]:
    prior = node.claim.prior.labels if node.claim else {}
    labels = {**node.labels, **prior}
    return {key: value for key, value in labels.items() if value is not None}


def _rank(pod: PodView) -> tuple[int, str, str]:
    return (pod.priority, pod.namespace, pod.name)
