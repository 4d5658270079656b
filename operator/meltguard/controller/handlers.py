"""Kopf's part: the finalizer, and waking the loops. No safety logic lives here and no status is written."""

import asyncio
import logging
import os
from typing import Any, Protocol

import kopf

from meltguard.controller.resources import FINALIZER
from meltguard.core.units import Seconds

GROUP, VERSION = "meltguard.io", "v1alpha1"
CHECK_AGAIN = Seconds(2.0)


class Loops(Protocol):
    """What handlers may ask of the loops."""

    def wake(self) -> None:
        """Look at everything again now."""
        ...

    def policy_released(self, uid: str, since: str) -> bool:
        """Whether a policy that is being deleted holds nothing any more, or has been waited for long enough."""
        ...

    def pool_released(self, name: str, since: str) -> bool:
        """Whether a pool that is being deleted has no loan out any more, or has been waited for long enough."""
        ...


def build_registry(loops: Loops) -> kopf.OperatorRegistry:
    """Kopf's handlers, bound to the loops."""
    registry = kopf.OperatorRegistry()
    kopf.on.startup(registry=registry)(configure)
    kopf.on.login(registry=registry)(login)

    async def changed(**_: Any) -> None:
        """Have it decided now, not at the next tick."""
        loops.wake()

    async def policy_deleted(uid: str, meta: kopf.Meta, **_: Any) -> None:
        """Keep the finalizer until every node is home and the agents are released."""
        loops.wake()
        if not loops.policy_released(uid, meta["deletionTimestamp"]):
            raise kopf.TemporaryError("its nodes are going home", delay=CHECK_AGAIN)

    async def pool_deleted(name: str, meta: kopf.Meta, **_: Any) -> None:
        """Keep the finalizer until every loan is back."""
        loops.wake()
        if not loops.pool_released(name, meta["deletionTimestamp"]):
            raise kopf.TemporaryError("its loans are coming home", delay=CHECK_AGAIN)

    for plural in ("imageservicepolicies", "gpupools"):
        kopf.on.resume(plural, id="wake", registry=registry)(changed)
        kopf.on.create(plural, id="wake", registry=registry)(changed)
        kopf.on.update(plural, id="wake", field="spec", registry=registry)(changed)
    kopf.on.delete("imageservicepolicies", id="release-policy", registry=registry)(policy_deleted)
    kopf.on.delete("gpupools", id="release-pool", registry=registry)(pool_deleted)
    return registry


def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Our finalizer, our annotations, no Events of Kopf's, no peering: leadership is the Lease's."""
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP, key="last-handled")
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.watching.client_timeout = 600
    settings.watching.server_timeout = 300


def login(**given: Any) -> kopf.ConnectionInfo | None:
    """As our own client finds its way: KUBECONFIG where it is set, else the pod's ServiceAccount."""
    if "KUBECONFIG" in os.environ:
        return kopf.login_with_kubeconfig(**given)
    return kopf.login_with_service_account(**given) or kopf.login_with_kubeconfig(**given)


async def run_kopf(registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    """Run Kopf until `stop` is set or it ends by itself."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(registry=registry, clusterwide=True, standalone=True, stop_flag=stop)
