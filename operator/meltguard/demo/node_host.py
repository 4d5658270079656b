"""One node of the plane, played: its kubelet's part for serving pods, its GPUs, its DCGM exporter."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.api.signed import PublicKeys
from meltguard.clock import SystemClock, rfc3339
from meltguard.core.fleet import SAVED_AT_ANNOTATION, PodView
from meltguard.core.units import PodUid, Seconds
from meltguard.demo.dcgm import CONTENT_TYPE, exposition
from meltguard.demo.gpu import Gpu, GpuUser, card
from meltguard.demo.host_setup import DCGM_PORT, DRAINED_ANNOTATION, HostNode, HostSetup
from meltguard.demo.serving_pod import PodFiles, ServingPod, agent_settings
from meltguard.errors import MeltguardError
from meltguard.sim.recording import Recording
from meltguard.sim.spread import seeded

log = logging.getLogger(__name__)

SERVER, TRAINER = "image-server", "trainer"
"""Names of the containers in the demo's pods."""

SAVES: Final = "saves-checkpoints"
"""Label of training that answers a notice by saving its work."""

SAVING: Final = Seconds(30.0)
"""How long that takes, in the recorded service's time."""

DRAINED: Final = json.dumps({"metadata": {"annotations": {DRAINED_ANNOTATION: "true"}}}).encode()


class NodeHost:
    """Keeps what runs on one node in step with the pods that are bound to it."""

    def __init__(self, node: HostNode, setup: HostSetup, recording: Recording, api: KubernetesApi) -> None:
        chance = seeded(setup.seed, "cards", node.name)
        self._node = node
        self._setup = setup
        self._recording = recording
        self._api = api
        self._clock = SystemClock()
        self._cards = [card(index, chance, setup.speed, node.flaws.get(index)) for index in range(node.gpus)]
        self._given: dict[PodUid, list[Gpu]] = {}
        self._serving: dict[PodUid, ServingPod] = {}
        self._saved: set[PodUid] = set()

    def keep_in_step(self, pods: Iterable[PodView], keys: PublicKeys, tasks: asyncio.TaskGroup) -> None:
        """Start what was bound here and stop what is to go; `tasks` carries the pods that serve."""
        here = {pod.uid: pod for pod in pods if pod.node == self._node.name and pod.gpus > 0 and not pod.finished}
        for uid in self._given.keys() - here.keys():
            self._gone(uid)
        for pod in sorted(here.values(), key=_name):
            serving = self._serving.get(pod.uid)
            if pod.asked_at is not None and pod.uid not in self._saved and SAVES in pod.labels:
                self._saved.add(pod.uid)
                tasks.create_task(self._save(pod), name=f"{pod.name} saves")
            if pod.terminating:
                self._ends(pod.uid)
            elif pod.running and pod.ip and pod.uid not in self._given:
                self._starts(pod, keys, tasks)
            elif serving is not None and pod.ready:
                serving.load()

    def metrics(self) -> str:
        """What the exporter answers now."""
        now = self._clock.elapsed()
        return exposition(self._node.name, [gpu.read(now) for gpu in self._cards])

    @asynccontextmanager
    async def exporter(self) -> AsyncIterator[None]:
        """Answer scrapes on the node's own address while the block runs."""
        app = web.Application()
        app.router.add_get("/metrics", self._scraped)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._node.dcgm, DCGM_PORT).start()
            yield
        finally:
            await runner.cleanup()

    async def _scraped(self, _: web.Request) -> web.Response:
        return web.Response(text=self.metrics(), headers={"content-type": CONTENT_TYPE})

    def _starts(self, pod: PodView, keys: PublicKeys, tasks: asyncio.TaskGroup) -> None:
        free = [gpu for gpu in self._cards if gpu.user is None]
        if len(free) < pod.gpus:
            return  # the pods before it are still finishing; the next change asks again
        gpus = free[: pod.gpus]
        self._given[pod.uid] = gpus
        serves = pod.labels.get("app") == self._setup.app
        for gpu in gpus:
            gpu.user = GpuUser(namespace=pod.namespace, pod=pod.name, container=SERVER if serves else TRAINER)
            if not serves:
                gpu.start(self._clock.elapsed())  # training: busy as long as it lives
        if serves:
            self._serving[pod.uid] = ServingPod.on(pod, gpus, self._recording, self._setup)
            tasks.create_task(self._serve(self._serving[pod.uid], keys), name=pod.name)

    def _ends(self, uid: PodUid) -> None:
        serving = self._serving.get(uid)
        if serving is not None:
            serving.stop()

    def _gone(self, uid: PodUid) -> None:
        """The API server knows the pod no more."""
        if uid in self._serving:
            self._ends(uid)
        else:
            self._release(uid)

    def _release(self, uid: PodUid) -> None:
        for gpu in self._given.pop(uid, ()):
            gpu.user = None
            gpu.stop(self._clock.elapsed())

    async def _serve(self, serving: ServingPod, keys: PublicKeys) -> None:
        pod = serving.pod
        try:
            await serving.run(agent_settings(pod, keys, self._files(pod), self._setup))
        finally:
            del self._serving[pod.uid]
            self._release(pod.uid)
        log.info("pod has finished", extra={"pod": pod.name})
        try:
            await self._api.patch(_path(pod), DRAINED, PatchKind.MERGE)
        except Missing:
            log.info("pod was gone before it said that it is drained", extra={"pod": pod.name})

    async def _save(self, pod: PodView) -> None:
        """A trainer that is told to go writes its checkpoint and says when: as its own code would."""
        await asyncio.sleep(SAVING / self._setup.speed)
        now = rfc3339(self._clock.now())
        patch = {"metadata": {"uid": pod.uid, "annotations": {SAVED_AT_ANNOTATION: now}}}
        try:
            await self._api.patch(_path(pod), json.dumps(patch).encode(), PatchKind.MERGE)
        except MeltguardError as exc:
            log.info("checkpoint not told", extra={"pod": pod.name, "why": str(exc)})

    def _files(self, pod: PodView) -> PodFiles:
        journals = self._setup.journals(self._node.name)
        states = Path(self._setup.directory) / "states"
        journals.mkdir(parents=True, exist_ok=True)
        states.mkdir(parents=True, exist_ok=True)
        return PodFiles(
            baseline=baseline_file(self._setup, self._node.name),
            journal=journals / f"{pod.name}.jsonl",
            state=states / f"{pod.name}.json",
        )


def baseline_file(setup: HostSetup, node: str) -> Path:
    """Where a node's agents find the baseline document, as a mounted ConfigMap."""
    return Path(setup.directory) / "baseline" / f"{node}.json"


def _path(pod: PodView) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"


def _name(pod: PodView) -> str:
    return pod.name


def keep_baseline(path: Path, entries: Mapping[str, str], entry: str) -> None:
    """Put the ConfigMap's entry where the agents look, if it changed; as a whole, as the kubelet does."""
    text = entries.get(entry)
    if text is None or (path.exists() and path.read_text(encoding="utf-8") == text):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
