"""Writes a pod's status; the latest word wins, and trouble with the API server is tried again."""

import asyncio
import json
import logging
from typing import Final

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.core.units import Seconds
from meltguard.errors import Conflict, MeltguardError
from meltguard.localcluster.kubelet.shapes import Pod
from meltguard.localcluster.kubelet.status import Conditions, PodNow, status_patch
from meltguard.ports import Clock

AGAIN: Final = Seconds(0.5)
FLUSH_LIMIT: Final = Seconds(5.0)
log = logging.getLogger(__name__)


class Reporter:
    """The voice of one pod."""

    def __init__(self, api: KubernetesApi, clock: Clock, pod: Pod) -> None:
        self._api = api
        self._clock = clock
        self._pod = pod
        self._conditions = Conditions()
        self._wanted: PodNow | None = None
        self._said: PodNow | None = None
        self._moved = asyncio.Condition()

    async def say(self, now: PodNow) -> None:
        """Have this written soon."""
        async with self._moved:
            self._wanted = now
            self._moved.notify_all()

    async def flush(self) -> None:
        """Return when the latest word is written, or after five seconds without success."""
        try:
            async with asyncio.timeout(FLUSH_LIMIT), self._moved:
                await self._moved.wait_for(lambda: self._said == self._wanted)
        except TimeoutError:
            log.warning("status not written", extra={"pod": self._pod.metadata.name})

    async def run(self) -> None:
        """Write until cancelled, or until the pod is gone."""
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: self._said != self._wanted)
                now = self._wanted
            if now is None:
                continue
            try:
                await self._write(now)
            except Conflict:
                return  # the pod is gone, or another one has its name
            except MeltguardError as exc:
                log.warning("status not written yet", extra={"pod": self._pod.metadata.name, "why": str(exc)})
                await asyncio.sleep(AGAIN)
                continue
            async with self._moved:
                self._said = now
                self._moved.notify_all()

    async def _write(self, now: PodNow) -> None:
        meta = self._pod.metadata
        body = status_patch(self._pod, now, self._conditions.listed(now, self._clock.now()))
        path = f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}/status"
        await self._api.patch(path, json.dumps(body).encode(), PatchKind.STRATEGIC)
