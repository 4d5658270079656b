"""Taking an update back by its ReplicaSets, against the real controller of a Deployment that is paused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.adapters.kubernetes_rollouts import KubernetesRollouts
from meltguard.adapters.recent import Recent
from meltguard.adapters.scale_shape import WorkloadRef
from meltguard.api.rollout_patch import TRYING
from meltguard.api.to_core import read_policy
from meltguard.clock import SystemClock
from meltguard.controller.rollouts import RolloutKeeper
from meltguard.core.rollout_state import Rollouts, RolloutState, RolloutWrite
from meltguard.core.seen import PodRevision
from meltguard.core.units import Instant, PodUid
from meltguard.core.update_shares import Sides, taken_back
from meltguard.localcluster.plane import Plane
from support.eventually import eventually
from support.objects import a_policy_object
from support.plane import Kubectl

pytestmark = pytest.mark.plane

PODS = 5
GONE_ON = {"old": 1, "new": 4}
"""What the controller makes of maxUnavailable 4 where no pod becomes Ready."""


def a_deployment(namespace: str, image: str) -> dict[str, Any]:
    labels = {"app": "web"}
    nowhere = {"nodeSelector": {"no-such": "node"}, "containers": [{"name": "c", "image": image}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {
            "replicas": PODS,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 4}},
            "template": {"metadata": {"labels": labels}, "spec": nowhere},
        },
    }


@dataclass(frozen=True)
class Ground:
    """A Deployment of which most pods run the update."""

    keeper: RolloutKeeper
    kubectl: Kubectl
    namespace: str

    @property
    def workload(self) -> WorkloadRef:
        """The Deployment."""
        return WorkloadRef(api_version="apps/v1", kind="Deployment", name="web", namespace=self.namespace)

    def sets(self) -> dict[str, tuple[str, int]]:
        """Name and size of each ReplicaSet, by the image that its pods run."""
        found = self.kubectl.read("replicasets", "-n", self.namespace)["items"]
        return {
            one["spec"]["template"]["spec"]["containers"][0]["image"]: (
                one["metadata"]["name"],
                one["spec"]["replicas"],
            )
            for one in found
        }

    def sizes(self) -> dict[str, int]:
        """Pods that are wanted, by image."""
        return {image: size for image, (_, size) in self.sets().items()}

    def come_to(self, sizes: dict[str, int]) -> Callable[[], bool]:
        """Whether it has."""
        return lambda: self.sizes() == sizes

    def sides(self) -> Sides:
        """As if all those pods were Ready."""
        pods = {
            image: {
                PodUid(f"{name}-{n}"): PodRevision(revision=image, replica_set=name, ready=True) for n in range(size)
            }
            for image, (name, size) in self.sets().items()
        }
        return Sides(new=pods["new"], old=pods["old"])

    def go_on_too_far(self) -> None:
        """More pods run the update than do not, and it is paused under a trial's strategy."""
        self.kubectl.apply(a_deployment(self.namespace, "new"))

    def pause(self) -> None:
        """As a refusal does."""
        paused = a_deployment(self.namespace, "new")
        paused["spec"] |= {"paused": True, "strategy": TRYING}
        self.kubectl.apply(paused)


async def test_step_by_step_the_pods_before_come_back_whoever_has_more(
    plane: Plane, kubectl: Kubectl, namespace: str
) -> None:
    policy = read_policy(a_policy_object())
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as api:
        clock, rollouts = SystemClock(), KubernetesRollouts(api)
        recent = Recent(read=rollouts.read, clock=clock)
        keeper = RolloutKeeper(rollouts=rollouts, objects=KubernetesObjects(api, clock), recent=recent)
        on = Ground(keeper, kubectl, namespace)
        kubectl.apply(a_deployment(namespace, "old"))
        await eventually(on.come_to({"old": PODS}), 30.0)
        on.go_on_too_far()
        await eventually(on.come_to(GONE_ON), 30.0)
        on.pause()
        writes = []
        for sizes in ({"old": 2, "new": 3}, {"old": 4, "new": 1}, {"old": 5, "new": 0}):
            read = await keeper.rollouts.read(on.workload)
            step = taken_back(read.view, on.sides())
            assert step is not None
            wanted = Rollouts(state=RolloutState.HELD, write=step[0], resize=step[1])
            for _ in range(2):  # a step that is seen twice is one step
                assert await keeper.write(policy, wanted, await keeper.rollouts.read(on.workload), Instant(0.0))
            await eventually(on.come_to(sizes), 30.0)
            writes.append(step[0])
        assert writes == [RolloutWrite.PUT_BACK, RolloutWrite.TAKE_BACK, RolloutWrite.TAKE_BACK]
