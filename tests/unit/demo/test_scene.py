"""The scene's objects, held against the models that the operator reads them with."""

from typing import Any

import pytest

from meltguard.api.policy import ImageServicePolicy
from meltguard.api.pool import GPUPool
from meltguard.api.quantities import parse_duration, parse_rate
from meltguard.core.units import Seconds
from meltguard.demo import cluster, research, scene
from meltguard.demo.serving_pod import STOP_WITHIN

PACE = scene.Pace(speed=12.0, model_load=Seconds(22.7))


def pods_of(made: dict[str, Any]) -> dict[str, Any]:
    return dict(made["spec"]["template"]["spec"])


def test_the_policy_is_one_that_the_operator_understands() -> None:
    policy = ImageServicePolicy.model_validate(scene.policy(PACE))

    assert [tier.name for tier in policy.spec.tiers] == ["free", "plus", "pro"]


def test_the_pools_are_such_too() -> None:
    pools = [GPUPool.model_validate(pool) for pool in scene.pools(PACE)]

    assert {pool.metadata.name: pool.spec.lending is not None for pool in pools} == {
        "inference": False,
        "research": True,
    }


@pytest.mark.parametrize("speed", [4.0, 12.0, 24.0])
def test_durations_are_divided_and_rates_multiplied(speed: float) -> None:
    pace = scene.Pace(speed=speed, model_load=Seconds(22.7))

    assert parse_duration(pace.time(60)) == pytest.approx(60 / speed, abs=0.001)
    assert parse_rate(pace.rate(300)) == pytest.approx(300 * speed / 60)
    ImageServicePolicy.model_validate(scene.policy(pace))


def test_four_nodes_serve_and_eight_research() -> None:
    workloads = [node["metadata"]["labels"]["workload"] for node in scene.gpu_nodes()]

    assert workloads == ["inference"] * 4 + ["research"] * 8
    assert all(
        node["spec"]["taints"][0]["value"] == workload
        for node, workload in zip(scene.gpu_nodes(), workloads, strict=True)
    )


def test_what_may_be_lent_leaves_the_floor() -> None:
    assert scene.RESEARCH_NODES - scene.MOST_LOANS >= scene.RESEARCH_FLOOR
    idle = scene.RESEARCH_NODES - research.BUSY_NODES
    assert 0 < idle < scene.MOST_LOANS, "idle nodes first, then one whose work must leave"
    assert scene.MOST_LOANS - idle <= research.TRAINERS


def test_the_service_fills_its_own_nodes_with_one_gpu_a_pod() -> None:
    made = scene.deployment(PACE)

    assert made["spec"]["replicas"] == 32
    assert pods_of(made)["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert pods_of(made)["nodeSelector"] == {"workload": "inference"}


def test_a_pod_has_longer_to_leave_than_its_agent_takes() -> None:
    assert pods_of(scene.deployment(PACE))["terminationGracePeriodSeconds"] > STOP_WITHIN


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (scene.namespaces()[0], "/api/v1/namespaces"),
        (scene.deployment(PACE), "/apis/apps/v1/namespaces/serving/deployments"),
        (scene.policy(PACE), "/apis/meltguard.io/v1alpha1/namespaces/serving/imageservicepolicies"),
        (scene.pools(PACE)[0], "/apis/meltguard.io/v1alpha1/gpupools"),
    ],
)
def test_every_kind_has_its_place(made: dict[str, Any], path: str) -> None:
    assert cluster.path_of(made) == path
