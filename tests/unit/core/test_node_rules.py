"""What a node must be like to be lent, one rule at a time."""

from dataclasses import replace
from typing import Any

import pytest

from meltguard.core.fleet import DRIVER_UPGRADE_LABEL, MANAGED_LABEL, OPT_OUT_ANNOTATION
from meltguard.core.node_rules import unfit
from meltguard.core.policy import Taint
from meltguard.core.pools import assign
from meltguard.core.units import Gpus
from support.core_values import a_node, a_pool

NODE = a_node()


def tainted(key: str, effect: str = "NoSchedule") -> dict[str, Any]:
    return {"taints": (Taint(key=key, value="", effect=effect),)}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"labels": {**NODE.labels, MANAGED_LABEL: "false"}}, "is not labelled meltguard.io/managed=true"),
        ({"ready": False}, "is not Ready"),
        ({"unschedulable": True}, "is cordoned by someone else"),
        ({"annotations": {OPT_OUT_ANNOTATION: "true"}}, f"is opted out by {OPT_OUT_ANNOTATION}"),
        (
            {"labels": {**NODE.labels, DRIVER_UPGRADE_LABEL: "pod-restart-required"}},
            "is under driver upgrade (pod-restart-required)",
        ),
        ({"labels": {**NODE.labels, DRIVER_UPGRADE_LABEL: "upgrade-done"}}, ""),
        ({"gpus": Gpus(0)}, "shows no GPU to allocate"),  # back from a reboot, its device plugin not there yet
        ({"sick": "has a sick GPU (Xid 79: fallen off the bus)"}, "has a sick GPU (Xid 79: fallen off the bus)"),
        ({"deleting": True}, "is being deleted"),
        (tainted("karpenter.sh/disrupted"), "is being taken away by Karpenter (taint karpenter.sh/disrupted)"),
        (tainted("karpenter.sh/disruption"), "is being taken away by Karpenter (taint karpenter.sh/disruption)"),
        (
            tainted("ToBeDeletedByClusterAutoscaler"),
            "is being taken away by the Cluster Autoscaler (taint ToBeDeletedByClusterAutoscaler)",
        ),
        (tainted("DeletionCandidateOfClusterAutoscaler", "PreferNoSchedule"), ""),  # our marks keep it
    ],
)
def test_a_node_is_fit_or_it_is_said_why_not(changes: dict[str, Any], why: str) -> None:
    assert unfit(replace(NODE, **changes)) == why


def test_the_floor_counts_only_nodes_that_work_can_be_put_on() -> None:
    nodes = [a_node("stays"), replace(a_node("goes"), deleting=True), a_node("rebooted", gpus=Gpus(0))]
    (pool,) = assign([a_pool()], nodes).values()
    assert [node.name for node in pool.at_home] == ["stays"]


def test_a_sick_node_is_not_counted_before_a_loan_and_breaks_no_floor() -> None:
    """A metric may be wrong: it holds loans back, and calls none home."""
    (pool,) = assign([a_pool()], [a_node("well"), replace(a_node("ill"), sick="has a sick GPU")]).values()
    assert [node.name for node in pool.sound] == ["well"]
    assert [node.name for node in pool.at_home] == ["well", "ill"]
