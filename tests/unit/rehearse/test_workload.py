from dataclasses import dataclass, field, replace

from meltguard.core.fleet import NodeView
from meltguard.core.policy import Policy, ReplicaWriter
from meltguard.core.units import Gpus, Instant, NodeName, Seconds
from meltguard.rehearse.clock import RehearsedClock
from meltguard.rehearse.cluster import Cluster
from meltguard.rehearse.workload import ServicePods
from support.core_values import a_node, a_policy, a_pool
from support.stage import FakeStage

LOAD = 30.0


def serving_node(name: str) -> NodeView:
    return a_node(name, "inference", gpus=Gpus(8))


def a_service(writer: ReplicaWriter = ReplicaWriter.MELTGUARD) -> Policy:
    policy = a_policy(gpus_per_pod=Gpus(8))
    assert policy.capacity is not None
    return replace(policy, capacity=replace(policy.capacity, replicas=writer))


@dataclass
class Ground:
    """Two nodes of the service's own, each with a pod; `lend` adds one."""

    policy: Policy = field(default_factory=a_service)
    clock: RehearsedClock = field(default_factory=lambda: RehearsedClock(Instant(1_000_000.0)))
    cluster: Cluster = field(default_factory=Cluster)

    def __post_init__(self) -> None:
        self.stage = FakeStage(self.clock)
        self.cluster.put(serving_node("own-1"))
        self.cluster.put(serving_node("own-2"))
        self.pods = ServicePods(
            policy=self.policy,
            taker=a_pool("inference"),
            cluster=self.cluster,
            clock=self.clock,
            load=lambda: Seconds(LOAD),
            has_workload=True,
        )
        self.pods.begin(self.stage)

    def lend(self) -> None:
        """A node arrives, and the workload is asked for its pod."""
        self.cluster.put(serving_node("lent-1"))
        self.pods.replicas = 3
        self.pods.settle()

    def on(self, node: str) -> list[str]:
        """The pods of a node."""
        return [pod.name for pod in self.cluster.nodes[NodeName(node)].pods]


def test_the_services_own_nodes_serve_from_the_start() -> None:
    ground = Ground()
    assert set(ground.stage.opened.values()) == {"own-1", "own-2"}
    assert ground.pods.replicas == 2
    assert ground.pods.unready() == 0


def test_a_pod_on_a_lent_node_serves_once_its_model_is_loaded() -> None:
    ground = Ground()
    ground.lend()
    ground.stage.pass_until(LOAD - 1)
    assert ground.pods.unready() == 1
    assert len(ground.stage.opened) == 2
    ground.stage.pass_until(LOAD)
    assert ground.pods.unready() == 0
    assert "lent-1" in ground.stage.opened.values()


def test_no_pod_comes_before_it_is_asked_for() -> None:
    ground = Ground()
    ground.cluster.put(serving_node("lent-1"))
    ground.pods.settle()
    assert ground.on("lent-1") == []


def test_fewer_replicas_take_the_marked_pod_first_and_wait_for_its_last_image() -> None:
    ground = Ground()
    ground.lend()
    ground.stage.pass_until(LOAD)
    [own] = [pod for pod in ground.pods.pods() if pod.node == "own-1"]
    ground.pods.leaving_first.add(own.uid)
    ground.stage.busy.add(own.uid)
    ground.pods.replicas = 2
    ground.pods.settle()
    ground.stage.pass_until(LOAD + 10)
    assert ground.stage.closed == [own.uid]
    assert ground.on("own-1") == [own.name]
    ground.stage.busy.clear()
    ground.stage.pass_until(LOAD + 12)
    assert ground.stage.removed == [own.uid]
    assert ground.on("own-1") == []


def test_a_pod_that_goes_before_its_model_is_loaded_never_serves() -> None:
    ground = Ground()
    ground.lend()
    [young] = [pod for pod in ground.pods.pods() if pod.node == "lent-1"]
    assert ground.pods.evicted(young)
    ground.stage.pass_until(LOAD + 10)
    assert young.uid not in ground.stage.opened
    assert ground.on("lent-1") == []


def test_somebody_elses_autoscaler_fills_whatever_is_open() -> None:
    ground = Ground(policy=a_service(ReplicaWriter.OTHERS))
    ground.cluster.put(serving_node("lent-1"))
    ground.pods.settle()
    assert len(ground.on("lent-1")) == 1
    assert ground.pods.workload() is None
