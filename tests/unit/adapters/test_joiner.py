"""Pods are put on nodes; what did not change since the last time is not made anew."""

from dataclasses import replace

from meltguard.adapters.kubernetes_fleet import Joiner
from meltguard.core.service import Selector
from meltguard.core.units import NodeName
from support.calls import counted_calls
from support.core_values import a_pod
from support.large_fleet import nodes_and_pods

ANY = Selector(labels={}, requirements=())


def test_each_pod_is_on_its_node_and_strangers_wait() -> None:
    nodes, pods = nodes_and_pods(2)
    lost = a_pod("lost", node=NodeName("gone"))
    view = Joiner().join(nodes, [*pods, lost])
    assert [[pod.name for pod in node.pods] for node in view.nodes] == [
        ["train-0-0-0", "train-0-0-1"],
        ["train-0-1-0", "train-0-1-1"],
    ]
    assert view.pending == (lost,)
    assert view.pods_of("research", ANY) == (*pods, lost)
    assert view.pods_of("serving", ANY) == ()


def test_one_pod_that_changed_makes_one_node_anew() -> None:
    nodes, pods = nodes_and_pods(1_000)
    joiner = Joiner()
    before = joiner.join(nodes, pods)
    pods[6] = replace(pods[6], ready=False)
    with counted_calls() as calls:
        after = joiner.join(nodes, pods)
    assert calls["replace"] == 1
    anew = [one for one, other in zip(after.nodes, before.nodes, strict=True) if one is not other]
    assert [(node.name, node.pods[0].ready) for node in anew] == [("n00003", False)]


def test_a_node_that_changed_is_made_anew() -> None:
    nodes, pods = nodes_and_pods(2)
    joiner = Joiner()
    joiner.join(nodes, pods)
    view = joiner.join([replace(nodes[0], unschedulable=True), nodes[1]], pods)
    assert [node.unschedulable for node in view.nodes] == [True, False]


def test_a_node_that_came_again_has_its_own_pods() -> None:
    nodes, pods = nodes_and_pods(2)
    joiner = Joiner()
    joiner.join(nodes, pods)
    joiner.join(nodes[1:], pods)
    assert joiner.join(nodes, pods[2:]).nodes[0].pods == ()
