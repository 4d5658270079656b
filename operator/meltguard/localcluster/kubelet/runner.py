"""The local runner: sees which pods are bound to it and gives each a worker."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, NoReturn

import msgspec

from meltguard.adapters.reflector import Changes, Reflector, Resource
from meltguard.core.units import Seconds
from meltguard.localcluster.cache import private_directory
from meltguard.localcluster.kubelet.answering import health_answered, logs_answered
from meltguard.localcluster.kubelet.node import keep_lease, register
from meltguard.localcluster.kubelet.shapes import Pod
from meltguard.localcluster.kubelet.site import Site
from meltguard.localcluster.kubelet.worker import PodWorker

START_LIMIT: Final = Seconds(60.0)
DONE: Final = frozenset({"Succeeded", "Failed"})
log = logging.getLogger(__name__)


async def run_node(site: Site) -> NoReturn:
    """Be a node until cancelled; then end every pod's process."""
    private_directory(site.logs)
    changes = Changes()
    path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{site.node}"
    resource = Resource(path=path, decode=_decode, key=lambda pod: pod.metadata.uid)
    reflector = Reflector(site.api, resource, changes, site.clock)
    async with asyncio.TaskGroup() as group:
        async with asyncio.timeout(START_LIMIT):
            await register(site)
        group.create_task(keep_lease(site))
        group.create_task(reflector.run())
        async with asyncio.timeout(START_LIMIT):
            await reflector.synced()
        async with health_answered(site), logs_answered(site):
            await _follow(site, reflector, changes, group)


def _decode(raw: msgspec.Raw) -> Pod:
    return msgspec.json.decode(raw, type=Pod)


async def _follow(site: Site, reflector: Reflector[Pod], changes: Changes, group: asyncio.TaskGroup) -> NoReturn:
    crew = Crew(site, group)
    version = 0
    while True:
        crew.match(reflector.snapshot())
        version = await changes.after(version)


class Crew:
    """The workers, one per pod."""

    def __init__(self, site: Site, group: asyncio.TaskGroup) -> None:
        self._site = site
        self._group = group
        self._workers: dict[str, PodWorker] = {}

    def match(self, pods: Mapping[str, Pod]) -> None:
        """Give new pods a worker, tell the others what has become of theirs."""
        for uid, pod in pods.items():
            worker = self._workers.get(uid)
            if worker is None and pod.status.phase not in DONE:
                worker = self._hire(pod, pods)
            if worker is not None:
                worker.observe(pod)
        for uid in self._workers.keys() - pods.keys():
            self._workers[uid].vanish()

    def _hire(self, pod: Pod, pods: Mapping[str, Pod]) -> PodWorker:
        """A pod that was ours before this runner began keeps its address."""
        worker = PodWorker(self._site, pod, pod.status.pod_ip or self._free_ip(pods))
        uid = pod.metadata.uid
        self._workers[uid] = worker
        self._group.create_task(worker.run()).add_done_callback(lambda _: self._workers.pop(uid, None))
        return worker

    def _free_ip(self, pods: Mapping[str, Pod]) -> str:
        """The lowest address that no pod has; finished ones need none, and the node takes fewer than there are."""
        done = {uid for uid, pod in pods.items() if pod.status.phase in DONE}
        taken = {worker.ip for uid, worker in self._workers.items() if uid not in done}
        taken |= {pod.status.pod_ip for uid, pod in pods.items() if uid not in done}
        return next(ip for n in range(254) if (ip := self._site.block.runner_pod(n)) not in taken)
