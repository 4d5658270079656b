"""What people and the operator see of the custom resources: explain, get, selectors, status, the largest object."""

import json
from typing import Any, Final

import pytest

from meltguard.api.policy import ImageServicePolicy
from meltguard.api.policy_status import Laggard, LimitStatus, PolicyStatus
from meltguard.api.pool import GPUPool
from meltguard.core.policy import TierState
from meltguard.localcluster.plane import Plane
from support.custom_resources import CustomResources, installed
from support.eventually import eventually
from support.objects import Object, a_policy_object, a_pool_object
from support.plane import Kubectl
from support.statuses import a_policy_status, a_pool_status

pytestmark = pytest.mark.plane


@pytest.fixture(scope="module")
def resources(plane: Plane, kubectl: Kubectl) -> CustomResources:
    return installed(plane, kubectl)


EXPLAINED: Final = {
    "isp": "Keeps an image-generation service alive through a surge",
    "isp.spec.mode": "Shadow decides and reports but enforces nothing",
    "isp.spec.tiers.floor": "Part of the capacity that the tier keeps",
    "isp.spec.metrics.signals.freshnessQuery": "time of the newest sample behind query",
    "isp.spec.overrides.until": "After that it does nothing",
    "isp.status.acknowledged": "like 31/32",
    "gpool.spec.lending.floor": "rounded up",
    "gpool.spec.nodes.labels": "it loses them again when it leaves",
}


@pytest.mark.parametrize(("field", "words"), EXPLAINED.items(), ids=EXPLAINED)
async def test_kubectl_explains_fields(resources: CustomResources, kubectl: Kubectl, field: str, words: str) -> None:
    assert resources
    await eventually(lambda: words in " ".join(kubectl.run("explain", field).stdout.split()), within=20.0)


def dumped(status: Any) -> Object:
    return dict(status.model_dump(mode="json", by_alias=True, exclude_none=True))


def test_get_answers_in_one_line(resources: CustomResources, kubectl: Kubectl, namespace: str) -> None:
    policy = a_policy_object(namespace=namespace)
    resources.apply(policy).must()
    resources.write_status(policy, dumped(a_policy_status())).must()
    head, line = kubectl("get", "isp", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "READY", "MODE", "LEVEL", "LIMITS", "LOANS", "WHY", "AGE"]
    assert line.split()[:6] == ["image-gen", "True", "Enforce", "Overloaded", "31/32", "1"]
    assert "free rejected to 31/m; nodes: 1 arriving" in line


def test_get_wide_tells_more(resources: CustomResources, kubectl: Kubectl, namespace: str) -> None:
    policy = a_policy_object(namespace=namespace)
    resources.apply(policy).must()
    resources.write_status(policy, dumped(a_policy_status())).must()
    head, line = kubectl("get", "imageservicepolicies", "-n", namespace, "-o", "wide").splitlines()
    assert {"PRESSURE", "THROTTLING", "REVISION", "LAST-CHANGE"} < set(head.split())
    assert line.split()[6:9] == ["1.31", "True", "41"]


def test_get_pool_answers_in_one_line(resources: CustomResources, kubectl: Kubectl, namespace: str) -> None:
    pool = a_pool_object(name=namespace)
    resources.apply(pool).must()
    resources.write_status(pool, dumped(a_pool_status())).must()
    head, line = kubectl("get", "gpool", namespace).splitlines()
    kubectl("delete", "gpool", namespace)
    assert head.split() == ["NAME", "READY", "NODES", "READY-NODES", "LENT", "FLOOR", "WHY", "AGE"]
    assert line.split()[:6] == [namespace, "True", "8", "6", "1", "4"]
    assert "lends 1 of 4; 2 more could go" in line


def test_both_kinds_are_found_by_category(resources: CustomResources, kubectl: Kubectl, namespace: str) -> None:
    resources.apply(a_policy_object(namespace=namespace)).must()
    pool = a_pool_object(name=namespace)
    resources.apply(pool).must()
    found = kubectl("get", "meltguard", "-n", namespace, "-o", "name")
    kubectl("delete", "gpool", namespace)
    assert "imageservicepolicy.meltguard.io/image-gen" in found
    assert f"gpupool.meltguard.io/{namespace}" in found


def test_policies_are_found_by_mode_and_by_pool(resources: CustomResources, kubectl: Kubectl, namespace: str) -> None:
    resources.apply(a_policy_object("loud", namespace)).must()
    resources.apply(a_policy_object("quiet", namespace, mode="Shadow", capacity={"pool": "other"})).must()
    by_mode = kubectl("get", "isp", "-n", namespace, "-o", "name", "--field-selector", "spec.mode=Shadow")
    by_pool = kubectl("get", "isp", "-n", namespace, "-o", "name", "--field-selector", "spec.capacity.pool=inference")
    assert by_mode.split() == ["imageservicepolicy.meltguard.io/quiet"]
    assert by_pool.split() == ["imageservicepolicy.meltguard.io/loud"]


def test_a_full_status_is_taken_whole_and_leaves_the_spec_alone(resources: CustomResources, namespace: str) -> None:
    policy = a_policy_object(namespace=namespace)
    before = resources.apply(policy).must()
    written = dumped(a_policy_status())
    resources.write_status(policy, written).must()
    after = resources.read(policy)
    assert after["status"] == written
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert ImageServicePolicy.model_validate(after).status == a_policy_status()


def test_a_full_pool_status_is_taken_whole(resources: CustomResources, kubectl: Kubectl, namespace: str) -> None:
    pool = a_pool_object(name=namespace)
    resources.apply(pool).must()
    written = dumped(a_pool_status())
    resources.write_status(pool, written).must()
    after = resources.read(pool)
    kubectl("delete", "gpool", namespace)
    assert after["status"] == written
    assert GPUPool.model_validate(after).status == a_pool_status()


def test_a_spec_cannot_smuggle_in_a_status(resources: CustomResources, namespace: str) -> None:
    policy = {**a_policy_object(namespace=namespace), "status": dumped(a_policy_status())}
    assert "status" not in resources.apply(policy).must()


def test_a_status_of_endless_texts_is_cut_and_taken(resources: CustomResources, namespace: str) -> None:
    policy = a_policy_object(namespace=namespace)
    resources.apply(policy).must()
    status = PolicyStatus(
        why="o\n" * 5000,
        limits=tuple(LimitStatus(tier=f"t{n}", state=TierState.DELAY, rate="1/m", cause="é" * 999) for n in range(99)),
        laggards=tuple(Laggard(pod=f"p{n}", cause="x" * 999, since="2026-11-23T10:00:00Z") for n in range(99)),
    )
    taken = resources.write_status(policy, dumped(status)).must()["status"]
    assert len(taken["limits"]) == 16
    assert len(taken["laggards"]) == 20
    assert len(taken["why"]) == 1024
    assert "\n" not in taken["why"]


BAD_STATUSES: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "a level that does not exist": ({"level": "Hot"}, "status.level"),
    "two conditions of one type": (
        {"conditions": [dumped(a_policy_status().conditions[0])] * 2},
        "status.conditions[1]: Duplicate value",
    ),
    "a moment that is none": ({"levelSince": "just now"}, "status.levelSince"),
    "memory beyond its bound": ({"memory": "x" * 2049}, "status.memory: Too long"),
    "a field that nobody knows": ({"mood": "good"}, 'unknown field "status.mood"'),
}


@pytest.mark.parametrize(("status", "said"), BAD_STATUSES.values(), ids=BAD_STATUSES)
def test_a_bad_status_is_refused(resources: CustomResources, namespace: str, status: dict[str, Any], said: str) -> None:
    policy = a_policy_object(namespace=namespace)
    resources.apply(policy).must()
    answer = resources.write_status(policy, status)
    assert not answer.ok
    assert said in answer.message


def the_largest_policy(namespace: str) -> Object:
    """Every list as long, every text as long as they may be together."""
    name = "n" * 60
    until = "2026-12-01T18:00:00.123456+01:00"
    return a_policy_object(
        namespace=namespace,
        service=_largest_service(),
        metrics={
            "signals": [
                {
                    "name": f"{name}{n}",
                    "query": "q" * 128,
                    "freshnessQuery": "f" * 64,
                    "use": "Confirm",
                    "calm": "1.001",
                    "target": "2.001",
                    "critical": "3.001",
                }
                for n in range(16)
            ]
        },
        capacity={"pool": name, "borrowFrom": [f"{name}{n}" for n in range(16)]},
        tiers=_largest_tiers(name),
        features=[
            {"name": f"{name}{n}", "rollout": dict.fromkeys(("Normal", "Elevated", "Overloaded", "Critical"), "100%")}
            for n in range(16)
        ],
        overrides=[
            {"tier": f"{name}{n}", "state": "Reject", "limit": "9999999.999/m", "until": until, "reason": "r" * 60}
            for n in range(16)
        ],
    )


def _largest_service() -> Object:
    key = f"{'k' * 200}.example/{'n' * 40}"
    return {
        "selector": {
            "matchLabels": {f"{key}{n}": "v" * 63 for n in range(8)},
            "matchExpressions": [
                {"key": f"{key}{n}", "operator": "NotIn", "values": [f"{'v' * 62}{v}" for v in range(8)]}
                for n in range(8)
            ],
        },
        "workloadRef": {"apiVersion": "a" * 128, "kind": "K" * 63, "name": "w" * 253},
    }


def _largest_tiers(name: str) -> list[Object]:
    return [
        {
            "name": f"{name}{n}",
            "priority": 1000,
            "weight": 1000,
            "floor": "3.12%",
            "max": "9999999.999/m",
            "quota": {"images": 1_000_000, "timeZone": "America/Argentina/ComodRivadavia"},
            "message": "m" * 256,
            "onLevel": {"Elevated": "Suspend", "Overloaded": "Suspend", "Critical": "Suspend"},
        }
        for n in range(16)
    ]


def test_the_largest_policy_is_taken_and_stays_small(resources: CustomResources, namespace: str) -> None:
    taken = resources.apply(the_largest_policy(namespace)).must()
    assert len(json.dumps(taken["spec"], separators=(",", ":"))) < 33 * 1024
