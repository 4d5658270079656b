from dataclasses import dataclass, field

from typing_extensions import override

from meltguard.agent.rehearsed import RehearsedDoor
from meltguard.core.decision import Decision
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, Instant, NodeName, PodUid, Seconds
from meltguard.sim.lenders import Lenders, Nobody, Stage
from meltguard.sim.world import World
from support.sim_world import a_setting, a_world, the_law

POD, OTHER = PodUid("p"), PodUid("q")


@dataclass
class Scripted(Lenders):
    """One pod is there, another comes at 60 s; the first takes no more from 120 s on, and goes once it is idle."""

    dawns: list[Instant] = field(default_factory=list)
    passes: int = 0
    gone_at: Seconds | None = None

    @override
    def begin(self, stage: Stage) -> None:
        stage.open(POD, NodeName("own"), Seconds(0.0))
        stage.at(Seconds(60.0), lambda at: stage.open(OTHER, NodeName("lent"), at))
        stage.at(Seconds(120.0), lambda at: self._leave(stage, at))

    def _leave(self, stage: Stage, at: Seconds) -> None:
        stage.close(POD, at)
        self._see_off(stage, at)

    def _see_off(self, stage: Stage, at: Seconds) -> None:
        if not stage.is_idle(POD):
            stage.at(Seconds(at + 1.0), lambda then: self._see_off(stage, then))
            return
        stage.remove(POD)
        self.gone_at = at

    @override
    def shown(self, seen: Snapshot, now: Instant) -> Snapshot:
        self.dawns.append(now)
        return seen

    @override
    def decided(self, decision: Decision, at: Seconds) -> None:
        self.passes += 1


def test_pods_come_and_go_as_the_lenders_side_says() -> None:
    lenders = Scripted()
    setting = a_setting(nodes=0, dawn=Instant(5_000.0))

    ledger = World(setting, lambda memory: the_law(setting.policy, memory), RehearsedDoor, lenders).run()
    gpus = {sample.at: sample.gpus for sample in ledger.samples}
    assert (gpus[Seconds(58.0)], gpus[Seconds(62.0)], gpus[Seconds(124.0)]) == (Gpus(8), Gpus(16), Gpus(8))
    assert lenders.gone_at is not None
    assert 120.0 < lenders.gone_at < 135.0  # its last images take 6 s each
    assert lenders.dawns[0] == 5_000.0
    assert lenders.passes == len(ledger.samples)


class Opening(Nobody):
    """The service's own two nodes, opened pod by pod."""

    @override
    def begin(self, stage: Stage) -> None:
        for node in ("gpu-00", "gpu-01"):
            stage.open(PodUid(f"{node}-0"), NodeName(node), Seconds(0.0))


def test_pods_that_the_lenders_side_opens_serve_as_those_of_the_worlds_own_nodes() -> None:
    setting = a_setting(nodes=0, until=200.0)
    opened = World(setting, lambda memory: the_law(setting.policy, memory), RehearsedDoor, Opening()).run()
    assert opened.samples == a_world(a_setting(nodes=2, until=200.0)).run().samples
