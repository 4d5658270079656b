"""Who had how many nodes, over time: what an audit log says of shares."""

from collections import Counter
from collections.abc import Iterator, Sequence

from faults.replay import NodeStep

Look = tuple[float, Counter[str]]
"""A moment, and how many nodes each policy has claimed from then on."""


def looks(steps: Sequence[NodeStep]) -> Iterator[Look]:
    """After each write to a node."""
    for step in steps:
        takers = (str(node.claim.get("policy")) for node in step.fleet.values() if node.claim is not None)
        yield step.deed.at, Counter(takers)


def mean_held(steps: Sequence[NodeStep], policy: str, since: float, until: float) -> float:
    """Nodes under a claim of this policy, averaged over the time between two moments."""
    total, at, had = 0.0, since, 0
    for moment, counts in looks(steps):
        total += had * max(0.0, min(moment, until) - at)
        at, had = max(at, min(moment, until)), counts[policy]
    return (total + had * max(0.0, until - at)) / (until - since)


def claims_begun(steps: Sequence[NodeStep]) -> Iterator[float]:
    """When nodes were claimed."""
    for step in steps:
        if step.after is not None and step.after.claim is not None and (step.before is None or not step.before.claim):
            yield step.deed.at
