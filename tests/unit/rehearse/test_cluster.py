import asyncio
from dataclasses import replace

import pytest

from meltguard.core.fleet import (
    ASKED_AT_ANNOTATION,
    EVICT_AFTER_ANNOTATION,
    NOTICE_ANNOTATION,
    Budget,
    MoveStep,
    PodView,
)
from meltguard.core.moves import new_claim
from meltguard.core.service import Selector
from meltguard.core.units import Epoch, Gpus, Instant, NodeName
from meltguard.errors import Conflict, Unavailable
from meltguard.rehearse.cluster import Cluster, free_gpus, open_nodes
from support.core_values import a_node, a_pod, a_pool

EPOCH = Epoch(1)
NAME = NodeName("gpu-1")


def a_cluster(*pods: PodView) -> Cluster:
    cluster = Cluster()
    cluster.put(a_node(NAME, gpus=Gpus(8)))
    for pod in pods:
        cluster.bind(pod, NAME)
    return cluster


def test_a_node_is_lent_and_comes_home_as_it_was() -> None:
    cluster = a_cluster()
    before = cluster.nodes[NAME]
    claim = new_claim(before, ("serving/image-gen", "u"), (a_pool(), a_pool("inference")), (Instant(0.0), Instant(9.0)))
    for step in MoveStep:
        asyncio.run(cluster.enter(cluster.nodes[NAME], replace(claim, step=step), EPOCH))
        assert cluster.nodes[NAME].claim == replace(claim, step=step)
        if step is MoveStep.LENT:
            assert a_pool("inference").labels.items() <= cluster.nodes[NAME].labels.items()
            assert not cluster.nodes[NAME].unschedulable
    asyncio.run(cluster.release(cluster.nodes[NAME], claim, EPOCH))
    assert cluster.nodes[NAME] == before


def test_a_notice_is_heard_and_taken_back() -> None:
    heard: list[str] = []
    cluster = a_cluster(a_pod("job"))
    cluster.on_notice = lambda pod: heard.append(pod.name)
    [pod] = cluster.nodes[NAME].pods
    at = "2026-03-02T09:00:00Z"
    asyncio.run(
        cluster.annotate_pod(pod, {NOTICE_ANNOTATION: "m", ASKED_AT_ANNOTATION: at, EVICT_AFTER_ANNOTATION: at})
    )
    assert cluster.nodes[NAME].pods[0].notice == "m"
    nothing = dict.fromkeys((NOTICE_ANNOTATION, ASKED_AT_ANNOTATION, EVICT_AFTER_ANNOTATION))
    asyncio.run(cluster.annotate_pod(pod, nothing))
    assert cluster.nodes[NAME].pods[0].evict_after is None
    assert heard == ["job"]


def test_an_eviction_is_heard_once_and_its_pod_is_terminating() -> None:
    heard: list[str] = []
    cluster = a_cluster(a_pod("job"))
    cluster.on_eviction = lambda pod: heard.append(pod.name)
    [pod] = cluster.nodes[NAME].pods
    asyncio.run(cluster.evict(pod))
    asyncio.run(cluster.evict(pod))
    assert heard == ["job"]
    assert cluster.nodes[NAME].pods[0].terminating


def test_a_budget_that_allows_none_refuses_an_eviction() -> None:
    cluster = a_cluster(a_pod("job"))
    [pod] = cluster.nodes[NAME].pods
    everything = Selector(labels={}, requirements=())
    budget = Budget(namespace=pod.namespace, name="b", uid="b", selector=everything, allowed=0, never="")
    cluster.budgets = lambda: (budget,)
    with pytest.raises(Unavailable, match="disruption budget b allows no eviction now"):
        asyncio.run(cluster.evict(pod))
    assert asyncio.run(cluster.guards(frozenset({pod.namespace}))).budgets == (budget,)
    assert asyncio.run(cluster.guards(frozenset({"other"}))).budgets == ()


def test_a_pod_waits_is_bound_and_goes() -> None:
    cluster = a_cluster()
    pod = a_pod("job")
    cluster.wait(pod, Instant(5.0))
    assert [one.stuck_since for one in cluster.view().pending] == [5.0]
    bound = cluster.bind(pod, NAME)
    assert cluster.view().pending == ()
    assert free_gpus(cluster.nodes[NAME]) == 8 - pod.gpus
    cluster.remove(bound)
    assert cluster.pod(bound) is None
    with pytest.raises(Conflict, match="is gone"):
        cluster.change(bound, ready=False)


def test_pods_of_an_owner_that_is_done_wait_no_longer() -> None:
    cluster = a_cluster()
    for name in ("mine", "other"):
        cluster.wait(a_pod(name, owner_uid=name), Instant(5.0))
    assert len(cluster.view().pending) == 2
    cluster.give_up("mine")
    assert [pod.name for pod in cluster.view().pending] == ["other"]


def test_the_view_is_made_anew_only_after_a_change() -> None:
    cluster = a_cluster()
    assert cluster.view() is cluster.view()
    before = cluster.view()
    cluster.put(a_node("gpu-2"))
    assert len(cluster.view().nodes) == 2
    assert len(before.nodes) == 1


def test_nodes_are_open_where_labels_fit_and_nobody_cordoned_them() -> None:
    nodes = [a_node("gpu-1"), replace(a_node("gpu-2"), unschedulable=True), replace(a_node("gpu-3"), ready=False)]
    assert [node.name for node in open_nodes(nodes, a_pool().labels)] == ["gpu-1"]
    assert open_nodes(nodes, a_pool("inference").labels) == []


def test_members_are_counted_without_their_pods() -> None:
    [found] = asyncio.run(a_cluster(a_pod("job")).members({}))
    assert found.pods == ()
    assert asyncio.run(a_cluster().members({"no": "such"})) == ()
