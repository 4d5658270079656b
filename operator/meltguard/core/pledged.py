"""Pods that open moves will evict."""

from collections.abc import Iterable

from meltguard.core.fleet import EMPTYING, NodeView, PodView


def pledged_pods(nodes: Iterable[NodeView]) -> tuple[PodView, ...]:
    """Pods that open moves will evict and have not yet."""
    return tuple(
        pod
        for node in nodes
        if node.claim is not None and node.claim.drain is not None and node.claim.step in EMPTYING
        for pod in node.movable_pods
        if not pod.terminating
    )
