"""The custom resources on the real API server: what it refuses, what it fills in, how managers share an object."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from meltguard.api.policy import ImageServicePolicy
from meltguard.api.pool import GPUPool
from meltguard.localcluster.plane import Plane
from support.bad import Bad
from support.bad_policies import BAD_POLICIES
from support.bad_pools import BAD_POOLS
from support.bad_tiers import BAD_TIERS
from support.custom_resources import CustomResources, installed
from support.objects import REMOVED, Object, a_policy_object, a_pool_object, edited
from support.plane import Kubectl

pytestmark = pytest.mark.plane

BARE_POLICY: Final = {"service": {"selector": {"matchLabels": {"app": "x"}}}, "tiers": [{"name": "free"}]}
BARE_POOL: Final = {"nodes": {"labels": {"workload": "x"}}}


@pytest.fixture(scope="module")
def resources(plane: Plane, kubectl: Kubectl) -> CustomResources:
    return installed(plane, kubectl)


def refused(resources: CustomResources, body: Object, bad: Bad) -> None:
    """At that field, in those words, and not for a slip in a rule of ours."""
    answer = resources.try_apply(body)
    assert not answer.ok, "the API server takes it"
    at = ".".join(f"[{part}]" if part.isdigit() else part for part in bad.at.split(".")).replace(".[", "[")
    assert at in answer.message
    assert bad.said in answer.message
    assert "no such key" not in answer.message
    assert "no such overload" not in answer.message


ALL_BAD_POLICIES: Final = {**BAD_POLICIES, **BAD_TIERS}


@pytest.mark.parametrize("bad", ALL_BAD_POLICIES.values(), ids=ALL_BAD_POLICIES)
def test_a_bad_policy_is_refused(resources: CustomResources, bad: Bad) -> None:
    refused(resources, edited(a_policy_object(namespace="default"), bad.edits), bad)


@pytest.mark.parametrize("bad", BAD_POOLS.values(), ids=BAD_POOLS)
def test_a_bad_pool_is_refused(resources: CustomResources, bad: Bad) -> None:
    refused(resources, edited(a_pool_object(), bad.edits), bad)


GOOD_POLICIES: Final[dict[str, Mapping[str, Any]]] = {
    "as the design has it": {},
    "only what is needed": {"spec": BARE_POLICY},
    "a selector by expressions": {
        "spec.service.selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}
    },
    "a query with its own scale": {
        "spec.metrics.signals": [
            {
                "name": "q",
                "query": "max(x)",
                "freshnessQuery": "max(timestamp(x))",
                "calm": "1",
                "target": "2.5",
                "critical": "10",
            }
        ]
    },
    "waits across units": {
        "spec.metrics.signals.0.calm": "900ms",
        "spec.metrics.signals.0.target": "4.5s",
        "spec.metrics.signals.0.critical": "1m",
    },
    "numbers that sort otherwise as text": {"spec.metrics.signals.1.calm": "9"},
    "floors of just half": {"spec.tiers.0.floor": "30%", "spec.tiers.1.floor": "20%"},
    "equal priorities": {"spec.tiers.1.priority": 20},
    "only the hardest state": {"spec.tiers.0.onLevel": {"Critical": "Delay"}},
    "the same state on all levels": {
        "spec.tiers.0.onLevel": {"Elevated": "Reject", "Overloaded": "Reject", "Critical": "Reject"}
    },
    "a feature for all": {"spec.features.0.rollout": {}},
    "a feature that ends at once": {"spec.features.0.rollout": {"Normal": "10%", "Critical": "0%"}},
    "a forced level": {
        "spec.overrides": [{"level": "Critical", "until": "2026-12-01T18:00:00+01:00", "reason": "drill"}]
    },
    "a forced rate": {
        "spec.overrides": [
            {"tier": "pro", "state": "Delay", "limit": "2/s", "until": "2026-12-01T18:00:00.5Z", "reason": "incident"}
        ]
    },
    "a quota of nothing": {"spec.tiers.0.quota": {"images": 0, "timeZone": "America/Argentina/Buenos_Aires"}},
    "a quota a week": {"spec.tiers.0.quota": {"images": 20, "per": "week", "timeZone": "Europe/Zurich"}},
    "a quota a month": {"spec.tiers.0.quota": {"images": 1_000_000, "per": "month"}},
    "a pool that borrows from nobody": {"spec.capacity": {"pool": "inference"}},
}


@pytest.mark.parametrize("edits", GOOD_POLICIES.values(), ids=GOOD_POLICIES)
def test_a_good_policy_is_taken_and_read_by_the_model(resources: CustomResources, edits: Mapping[str, Any]) -> None:
    taken = resources.try_apply(edited(a_policy_object(namespace="default"), edits)).must()
    assert ImageServicePolicy.model_validate(taken).metadata.name == "image-gen"


GOOD_POOLS: Final[dict[str, Mapping[str, Any]]] = {
    "as the design has it": {},
    "only what is needed": {"spec": BARE_POOL},
    "a floor as a percentage": {"spec.lending.floor": "40%"},
    "our own pool label": {
        "spec.nodes": {
            "labels": {"meltguard.io/pool": "research"},
            "taints": [{"key": "meltguard.io/pool", "value": "research"}],
        }
    },
    "lending to every namespace": {"spec.lending.borrowers.namespaceSelector.matchLabels": {}},
    "a window on working days": {"spec.lending.windows.0.schedule": "*/15 8-18,20 1,15 1-12/3 1-5"},
    "no notice": {"spec.lending.eviction": {"notice": "0s", "onDeadline": "SkipNotice"}},
    "a scale of a kind without a namespace": {"spec.scaleRef.namespace": REMOVED},
}


@pytest.mark.parametrize("edits", GOOD_POOLS.values(), ids=GOOD_POOLS)
def test_a_good_pool_is_taken_and_read_by_the_model(resources: CustomResources, edits: Mapping[str, Any]) -> None:
    taken = resources.try_apply(edited(a_pool_object(), edits)).must()
    assert GPUPool.model_validate(taken).metadata.name == "research"


def test_a_bare_policy_is_filled_in(resources: CustomResources) -> None:
    bare = edited(a_policy_object(namespace="default"), {"spec": {**BARE_POLICY, "capacity": {"pool": "inference"}}})
    assert resources.try_apply(bare).must()["spec"] == {
        "mode": "Enforce",
        "service": {"selector": {"matchLabels": {"app": "x"}}, "agentPort": 9901, "gpusPerPod": 1},
        "metrics": {"source": "default", "staleAfter": "60s"},
        "levels": {"dwell": "60s"},
        "capacity": {
            "pool": "inference",
            "maxLoans": 1,
            "borrowAtPressure": "0.9",
            "returnAfter": "10m",
            "replicas": "Meltguard",
            "priority": 1,
            "weight": 1,
            "order": ["Borrow", "Buy"],
            "forecast": "Off",
        },
        "tiers": [
            {"name": "free", "priority": 0, "weight": 1, "floor": "0%", "maxWait": "30s", "shedStatus": 503},
        ],
    }


def test_optional_parts_of_a_policy_are_filled_in_where_they_stand(resources: CustomResources) -> None:
    edits = {
        "spec.metrics": {"signals": [{"name": "wait", "preset": "agent-wait"}]},
        "spec.tiers.0.quota": {"images": 3},
        "spec.features.0.rollout": {"Critical": "0%"},
        "spec.rollouts": {},
    }
    spec = resources.try_apply(edited(a_policy_object(namespace="default"), edits)).must()["spec"]
    assert spec["metrics"]["signals"] == [{"name": "wait", "preset": "agent-wait", "use": "Drive"}]
    assert spec["tiers"][0]["quota"] == {"images": 3, "per": "day", "timeZone": "UTC", "whenUncounted": "Refuse"}
    assert spec["features"][0]["rollout"] == {"Normal": "100%", "Critical": "0%"}
    assert spec["rollouts"] == {"holdAt": "Overloaded", "cheaperBy": "5%"}


def test_a_bare_lender_is_filled_in(resources: CustomResources) -> None:
    edits = {
        "spec.nodes.taints": [{"key": "workload"}],
        "spec.lending": {"floor": "40%", "borrowers": {"namespaceSelector": {"matchLabels": {}}}, "eviction": {}},
        "spec.scaleRef.min": REMOVED,
    }
    spec = resources.try_apply(edited(a_pool_object(), edits)).must()["spec"]
    assert spec["nodes"]["taints"] == [{"key": "workload", "effect": "NoSchedule"}]
    assert spec["lending"] == {
        "floor": "40%",
        "maxLoans": 1,
        "maxLoanDuration": "24h",
        "borrowers": {"namespaceSelector": {"matchLabels": {}}},
        "eviction": {
            "maxAtOnce": 4,
            "maxLossPerGPU": "24h",
            "notice": "2m",
            "minimumRuntime": "30m",
            "deadline": "10m",
            "onDeadline": "GiveUp",
            "localData": "Keep",
            "lastRetry": "Keep",
        },
    }
    assert spec["scaleRef"]["min"] == 0


def test_what_the_server_fills_in_is_what_the_models_fill_in(resources: CustomResources) -> None:
    bare = edited(a_policy_object(namespace="default"), {"spec": {**BARE_POLICY, "capacity": {"pool": "inference"}}})
    seen = resources.try_apply(bare).must()
    assert ImageServicePolicy.model_validate(seen).spec == ImageServicePolicy.model_validate(bare).spec
    lender = edited(a_pool_object(), {"spec.lending.eviction": REMOVED, "spec.lending.maxLoans": REMOVED})
    assert GPUPool.model_validate(resources.try_apply(lender).must()).spec == GPUPool.model_validate(lender).spec


def test_two_managers_share_the_tiers_of_a_policy(resources: CustomResources, namespace: str) -> None:
    of_git = a_policy_object(namespace=namespace)
    resources.apply(of_git, manager="git").must()
    of_ada = _part(of_git, {"tiers": [{"name": "vip", "priority": 30, "max": "9/m"}]})
    merged = resources.apply(of_ada, manager="ada").must()
    assert [tier["name"] for tier in merged["spec"]["tiers"]] == ["free", "plus", "pro", "vip"]
    of_git = edited(of_git, {"spec.tiers.1.weight": 5, "spec.tiers.2": REMOVED})
    merged = resources.apply(of_git, manager="git").must()
    assert {tier["name"]: tier["weight"] for tier in merged["spec"]["tiers"]} == {"free": 1, "plus": 5, "vip": 1}


def test_a_second_manager_learns_whose_value_it_would_overwrite(resources: CustomResources, namespace: str) -> None:
    of_git = a_policy_object(namespace=namespace)
    resources.apply(of_git, manager="git").must()
    answer = resources.apply(_part(of_git, {"tiers": [{"name": "free", "floor": "5%"}]}), manager="ada")
    assert answer.code == 409
    assert '.spec.tiers[name="free"].floor' in answer.message
    assert '"git"' in answer.message


def test_two_managers_lend_to_pools_of_one_list(resources: CustomResources, namespace: str) -> None:
    of_git = a_policy_object(namespace=namespace)
    resources.apply(of_git, manager="git").must()
    merged = resources.apply(_part(of_git, {"capacity": {"borrowFrom": ["spot"]}}), manager="ada").must()
    assert merged["spec"]["capacity"]["borrowFrom"] == ["research", "burst", "spot"]


def _part(body: Object, spec: Mapping[str, Any]) -> Object:
    return {**body, "spec": dict(spec)}
