"""Which number of Kueue's a pool's nodes are sold by."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaRef:
    """The one number of a ClusterQueue that a pool's nodes are sold by."""

    cluster_queue: str
    flavor: str
    resource: str  # such as nvidia.com/gpu

    @property
    def key(self) -> str:
        """`flavor/resource`, as our mark on the ClusterQueue names it. A flavor's name has no slash."""
        return f"{self.flavor}/{self.resource}"
