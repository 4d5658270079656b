"""A service in a surge, and whoever updates it meanwhile."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from faults import world
from faults.ground import PODS
from faults.rest import path_of
from meltguard.api.rollout_mark import ROLLOUT_HELD
from support.overload import Overload, until

Json = dict[str, Any]
OLD: Final = "image-gen"
STRAYS: Final = 0.2
"""How far an image's time strays, as requests of one kind do."""

LOADS: Final = "8s"
"""From a pod's start to its Ready: longer than a few passes of the operator."""


@dataclass
class Scene:
    """Its Deployment, its pods, and what is said of them."""

    overload: Overload
    most: Counter[str] = field(default_factory=Counter)  # pods that were seen to run an image at once

    async def deployment(self) -> Json:
        """As it stands."""
        found = await self.overload.ground.admin.get(path_of(world.deployment()))
        assert found is not None
        return found

    async def update(self, image: str) -> None:
        """As a person or a pipeline does it: the template, and nothing else."""
        template = {
            "metadata": {"annotations": {"local.meltguard.io/load-delay": LOADS}},
            "spec": {"containers": [{"name": "server", "image": image}]},
        }
        names = ("deployment", world.SERVICE, f"--namespace={world.SERVING}")
        patch = json.dumps({"spec": {"template": template}})
        await self.overload.ground.admin.kubectl("patch", *names, "--type=strategic", f"--patch={patch}")

    async def images(self) -> Counter[str]:
        """What the service's pods run."""
        pods = await self.overload.ground.admin.items(PODS)
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        found = Counter(pod["spec"]["containers"][0]["image"] for pod in alive)
        self.most |= found
        return found

    async def mark(self) -> Json:
        """Ours, on the Deployment; empty where there is none."""
        annotations = (await self.deployment())["metadata"].get("annotations", {})
        read: Json = json.loads(annotations.get(ROLLOUT_HELD, "{}"))
        return read

    async def trial(self) -> Json:
        """What the mark says of one."""
        return (await self.mark()).get("trial") or {}

    async def is_at(self, stage: str, pods: int = 1) -> bool:
        """How far the trial is."""
        trial = await self.trial()
        await self.images()
        return (trial.get("stage"), trial.get("pods")) == (stage, pods)

    async def has_settled(self, stage: str, run: dict[str, int]) -> bool:
        """Whether the trial has ended so, and these pods run, and no others."""
        images, trial, told = await self.images(), await self.trial(), await self.figures()
        said = {trial.get("stage"), told.get("stage")}  # the mark comes first, then the status
        return said == {stage} and images == run and len(self.overload.ground.agents) == sum(run.values())

    async def figures(self) -> Json:
        """The trial's, as the policy's status tells them."""
        return (await self.overload.status()).get("rollouts", {}).get("trial") or {}

    async def rates(self) -> tuple[float, float]:
        """Images a GPU-second, of the update and of what ran before."""
        told = {one["update"]: float(one["imagesPerGPUSecond"]) for one in (await self.figures()).get("revisions", [])}
        return told[True], told[False]

    async def is_held(self, pods: int) -> bool:
        """Before any update: so many pods serve, and updates wait."""
        agents = self.overload.ground.agents
        return bool(await self.mark()) and await self.images() == {OLD: pods} and len(agents) == pods

    async def calm_down(self, found: Json) -> None:
        """The surge ends: the strategy and the pods are as they were found, and nothing is paused."""

        async def is_as_found() -> bool:
            spec = (await self.deployment())["spec"]
            return not await self.mark() and spec["replicas"] == found["replicas"]

        self.overload.ebb()
        await until(is_as_found, 90.0)
        left = (await self.deployment())["spec"]
        assert (left["strategy"], "paused" in left) == (found["strategy"], False)

    async def told(self) -> str:
        """What was said of trials."""
        events = f"/apis/events.k8s.io/v1/namespaces/{world.SERVING}/events"
        found = await self.overload.ground.admin.items(events)
        ours = [one for one in found if one["reason"] == "UpdateTried"]
        return "\n".join(one["note"] for one in sorted(ours, key=lambda one: str(one["eventTime"])))

    async def has_told(self, words: str, after: str) -> bool:
        """Whether that was said of trials, after the other words."""
        return words in (await self.told()).partition(after)[2]
