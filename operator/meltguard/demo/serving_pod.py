"""One serving pod: its real agent, on the pod's own address, before the image server on its GPUs."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meltguard.agent.server import serving
from meltguard.agent.settings import Address, AgentSettings, Callers, Pace, PolicyKey, QuotaSettings, StoreAddress
from meltguard.api.signed import PublicKeys
from meltguard.core.fleet import PodView
from meltguard.core.units import Gpus, PodUid, Seconds
from meltguard.demo.gpu import Gpu
from meltguard.demo.host_setup import AGENT_PORT, DATA_PORT, HostSetup
from meltguard.demo.image_server import ImageServer
from meltguard.sim.recording import Recording
from meltguard.sim.spread import seeded

STOP_WITHIN = Seconds(50.0)
"""For images in progress when the pod is deleted; the pods' grace period is longer."""

QUOTA_ANSWER = Seconds(0.5)
"""What the quota store may take to answer: on two busy cores everything takes longer than in a data centre."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFiles:
    """Where one pod's files are."""

    baseline: Path
    journal: Path
    state: Path


class ServingPod:
    """Runs from `run` until `stop` was called and the images in progress are done."""

    def __init__(self, pod: PodView, gpus: Sequence[Gpu], server: ImageServer) -> None:
        self.pod = pod
        self.gpus = gpus
        self._server = server
        self._stopping = asyncio.Event()

    @classmethod
    def on(cls, pod: PodView, gpus: Sequence[Gpu], recording: Recording, setup: HostSetup) -> "ServingPod":
        """A pod on these GPUs, with chance of its own."""
        server = ImageServer(gpus, recording, seeded(setup.seed, "pod", pod.name), setup.speed)
        server.loaded = pod.ready
        return cls(pod, gpus, server)

    def load(self) -> None:
        """The model is there: serve."""
        self._server.loaded = True

    def stop(self) -> None:
        """Take no new request; `run` returns when the last image is done."""
        self._stopping.set()

    async def run(self, settings: AgentSettings) -> None:
        """Serve. Raises InvalidInput where the pod's address cannot be listened on."""
        async with serving(settings, self._server):
            await self._stopping.wait()


def agent_settings(pod: PodView, keys: PublicKeys, files: PodFiles, setup: HostSetup) -> AgentSettings:
    """How the pod's agent is started. Its own durations are the policy's, so the demo's speed divides them too."""
    return AgentSettings(
        policy=PolicyKey(setup.namespace, setup.policy),
        pod_uid=PodUid(str(pod.uid)),
        keys=keys,
        listen=Address(pod.ip, DATA_PORT),
        control=Address(pod.ip, AGENT_PORT),
        gpus=Gpus(pod.gpus),
        baseline_file=files.baseline,
        state_file=files.state,
        journal=files.journal,
        journal_names_users=True,  # made-up users: the checker counts their images
        callers=Callers(trust_gateway=True),
        pace=Pace(
            own_max_wait=Seconds(30.0 / setup.speed),
            overload_wait=Seconds(setup.wait_target),
            stop_within=STOP_WITHIN,
        ),
        quota=QuotaSettings(store=StoreAddress(url=setup.valkey_url), budget=QUOTA_ANSWER),
    )
