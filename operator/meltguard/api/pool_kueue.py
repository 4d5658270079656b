"""Which number of Kueue's a pool's nodes are sold by."""

from typing import Annotated

from pydantic import Field

from meltguard.api.rules import RuledModel
from meltguard.core.quota_ref import QuotaRef


class KueueSpec(RuledModel):
    """One nominalQuota of a ClusterQueue. Pools that name the same one are counted together."""

    cluster_queue: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the ClusterQueue. The chart's kueue.clusterQueues must name it too."""
    flavor: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the ResourceFlavor whose nodes are this pool's."""
    resource: Annotated[str, Field(min_length=1, max_length=316)]
    """Resource that the quota counts and the nodes show, like nvidia.com/gpu."""


def quota_ref(spec: KueueSpec | None) -> QuotaRef | None:
    """The number as the core names it."""
    if spec is None:
        return None
    return QuotaRef(cluster_queue=spec.cluster_queue, flavor=spec.flavor, resource=spec.resource)
