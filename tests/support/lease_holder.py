"""A process of its own that holds a Lease and writes under it as fast as it can, until it must not.

Prints one line a fact: `held EPOCH`, `forbidden` (a write stopped before it left), `lost WHY`.
"""

import asyncio
import sys

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_lease import LeaseElection, LeaseLost, LeaseName, LeaseTiming
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds

MARK = "/api/v1/nodes/mark"
NAME = LeaseName(namespace="meltguard", name="meltguard")
STEADY = LeaseTiming(duration=Seconds(3.0), deadline=Seconds(2.5), renew_every=Seconds(0.2), retry_every=Seconds(0.1))
"""For who must keep it: a machine may stand still for a second or two."""

BRISK = LeaseTiming(duration=Seconds(1.0), deadline=Seconds(0.6), renew_every=Seconds(0.2), retry_every=Seconds(0.1))


def _say(fact: str) -> None:
    sys.stdout.write(f"{fact}\n")
    sys.stdout.flush()


async def _write(api: KubernetesApi) -> None:
    while True:
        try:
            await api.patch(MARK, b'{"by": "holder"}', PatchKind.MERGE)
        except LeaseLost:
            _say("forbidden")
            return
        await asyncio.sleep(0.01)


async def _hold(kubeconfig: str) -> None:
    async with await KubernetesApi.connect(kubeconfig) as api:
        lease = LeaseElection(api, NAME, SystemClock(), STEADY)
        _say(f"held {await lease.acquire()}")
        writing = asyncio.create_task(_write(api.guarded(lease.ensure_held)))
        _say(f"lost {await lease.keep()}")
        await writing


if __name__ == "__main__":
    asyncio.run(_hold(sys.argv[1]))
