"""Tells the gateway which pods may be sent to: Ready, not leaving, and answering."""

import asyncio
from pathlib import Path
from typing import Final, NoReturn

from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.core.fleet import PodView
from meltguard.core.units import PodUid, Seconds
from meltguard.demo.host_setup import DATA_PORT
from meltguard.demo.records import Endpoint, Endpoints, replace
from meltguard.demo.watch import is_serving

ASK_AGAIN: Final = Seconds(0.2)
ANSWER_WITHIN: Final = Seconds(0.5)


class EndpointKeeper:
    """Keeps the gateway's file. EndpointSlices would do this, but refuse loopback addresses."""

    def __init__(self, fleet: KubernetesFleet, path: Path) -> None:
        self._fleet = fleet
        self._path = path
        self._answered: set[PodUid] = set()

    async def run(self) -> NoReturn:
        """Keep the file until cancelled."""
        while True:
            seen = self._fleet.changes.version
            if await self.told():
                await self._fleet.changes.after(seen)
            else:
                await asyncio.sleep(ASK_AGAIN)  # a server that begins to listen tells nobody

    async def told(self) -> bool:
        """Write the file; whether every ready pod is in it."""
        pods = [pod for node in self._fleet.view().nodes for pod in node.pods]
        ready = [pod for pod in pods if is_serving(pod) and pod.ready and not pod.terminating]
        new = [pod for pod in ready if pod.uid not in self._answered]
        answers = await asyncio.gather(*(_answers(pod) for pod in new))
        self._answered |= {pod.uid for pod, yes in zip(new, answers, strict=True) if yes}
        known = (pod for pod in ready if pod.uid in self._answered)
        endpoints = (Endpoint(name=pod.name, url=f"http://{pod.ip}:{DATA_PORT}") for pod in known)
        replace(self._path, Endpoints(pods=tuple(endpoints)))
        return all(answers)


async def _answers(pod: PodView) -> bool:
    """Whether something listens on the pod's data port."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            _, writer = await asyncio.open_connection(pod.ip, DATA_PORT)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
