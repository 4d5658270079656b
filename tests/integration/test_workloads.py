"""Replicas are decided on what was read lately, and written only where a fresh reading says the same."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from faults import world
from meltguard.adapters.kubernetes_autoscalers import KubernetesAutoscalers
from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.adapters.recent import READ_EVERY
from meltguard.api.to_core import PolicyObject, read_policy
from meltguard.controller.workloads import Workloads
from meltguard.core.decision import SetReplicas
from meltguard.core.seen import Workload
from meltguard.localcluster.plane import Plane
from support.fakes import FakeClock
from support.plane import Kubectl

pytestmark = pytest.mark.plane


def a_policy(namespace: str, **capacity: Any) -> PolicyObject:
    made = world.a_policy(world.IDLE)
    made["metadata"] |= {"namespace": namespace, "uid": "policy-uid", "generation": 1}
    made["spec"]["capacity"] |= capacity
    return read_policy(made)


def a_deployment(namespace: str) -> dict[str, Any]:
    made = world.deployment()
    made["metadata"]["namespace"] = namespace
    return made


def an_hpa(namespace: str) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": world.SERVICE}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-cpu", "namespace": namespace},
        "spec": {"minReplicas": 1, "maxReplicas": 9, "scaleTargetRef": target},
    }


class _Ground:
    def __init__(self, api: KubernetesApi, kubectl: Kubectl, namespace: str) -> None:
        self.clock = clock = FakeClock()
        self.workloads = Workloads(KubernetesObjects(api, clock), KubernetesAutoscalers(api, clock), clock)
        self.policy, self.kubectl, self.namespace = a_policy(namespace), kubectl, namespace
        kubectl.apply(a_deployment(namespace))

    def replicas(self) -> int:
        found: int = self.kubectl.read("deployment", world.SERVICE, "-n", self.namespace)["spec"]["replicas"]
        return found

    async def lately(self) -> Workload:
        found = await self.workloads.lately(self.policy)
        assert found is not None
        return found

    def others_scale(self, count: int) -> None:
        self.kubectl("scale", "deployment", world.SERVICE, "-n", self.namespace, f"--replicas={count}")


@pytest.fixture
async def ground(plane: Plane, kubectl: Kubectl, namespace: str) -> AsyncIterator[_Ground]:
    async with await KubernetesApi.connect(str(plane.kubeconfig)) as api:
        yield _Ground(api, kubectl, namespace)


async def test_what_was_seen_and_still_is_gets_our_number(ground: _Ground) -> None:
    seen = await ground.lately()
    assert seen == Workload(replicas=world.SERVERS)
    await ground.workloads.write(ground.policy, SetReplicas(replicas=4), seen)
    assert ground.replicas() == 4
    assert (await ground.lately()).replicas == 4, "what we wrote is read anew at once"


async def test_a_number_that_changed_since_is_left_alone(ground: _Ground) -> None:
    seen = await ground.lately()
    ground.others_scale(3)
    assert await ground.lately() == seen, "it is not read again for a while"
    await ground.workloads.write(ground.policy, SetReplicas(replicas=4), seen)
    assert ground.replicas() == 3
    assert (await ground.lately()).replicas == 3


async def test_an_autoscaler_that_came_since_is_left_alone(ground: _Ground) -> None:
    seen = await ground.lately()
    ground.kubectl("apply", "-f", "-", stdin=json.dumps(an_hpa(ground.namespace)))
    await ground.workloads.write(ground.policy, SetReplicas(replicas=4), seen)
    assert ground.replicas() == world.SERVERS
    ground.clock.advance(READ_EVERY)
    assert (await ground.lately()).scaled_by == "HorizontalPodAutoscaler by-cpu"


async def test_a_number_that_is_handed_over_is_not_even_read(ground: _Ground) -> None:
    handed = a_policy(ground.namespace, replicas="Others")
    assert await ground.workloads.lately(handed) is None
