"""The surges that laws are compared on: four shapes, the same for every law, drawn anew for every seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from heapq import merge
from pathlib import Path
from typing import Final

from meltguard.core.policy import Level, Mode, Policy, Signal, SignalKind, SignalUse, Tier, TierState
from meltguard.core.units import Celsius, Gpus, Seconds, Share, TierName, Units, UnitsPerSecond
from meltguard.sim.changes import Change, Heat, Loan, Loss
from meltguard.sim.fitted import from_figures, shipped
from meltguard.sim.recorded import FLASH_CROWD, VIRAL, flash_crowd, read_numbers, viral
from meltguard.sim.recording import Recording
from meltguard.sim.requests import Asked, Crowd, Request, alike, crowded, mean_gpu_seconds, numbered
from meltguard.sim.spread import Envelope, seeded
from meltguard.sim.world import Setting

FREE, PLUS, PRO = TierName("free"), TierName("plus"), TierName("pro")
USERS: Final = ((FREE, Share(0.90)), (PLUS, Share(0.08)), (PRO, Share(0.02)))
LADDER: Final = {Level.ELEVATED: TierState.DELAY, Level.OVERLOADED: TierState.REJECT}
"""Without Suspend: a suspended tier has no limit that laws could differ in."""


CLAIMED: Final = 30.0
"""Seconds from the moment that more is asked for than the GPUs do until more nodes are claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Offered GPU time over a run, in multiples of what the service's own GPUs give."""

    load: Envelope
    peak: float
    base: float
    length: Seconds

    def at(self, time: Seconds) -> float:
        """The multiple at a time."""
        return self.base + self.peak * self.load.at(Share(time / self.length))

    def exceeded(self) -> Seconds:
        """When it first is more than the GPUs do."""
        times = (Seconds(float(second)) for second in range(int(self.length)))
        return next(time for time in times if self.at(time) > 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One shape."""

    name: str
    says: str
    policy: Policy
    nodes: int
    gpus_per_node: Gpus
    until: Seconds
    load: Callable[[Seconds], float]  # offered GPU time, in GPUs
    units_a_gpu_second: float  # over all requests
    paid_units: Callable[[Seconds], float]  # offered a second by all but the lowest tier
    requests: Callable[[int], Iterator[Request]]  # by seed
    changes: Callable[[int], tuple[Change, ...]]

    @property
    def gpus(self) -> int:
        """That the service owns."""
        return self.nodes * self.gpus_per_node

    @property
    def nominal(self) -> UnitsPerSecond:
        """What they do."""
        return UnitsPerSecond(self.gpus * self.units_a_gpu_second)

    def setting(self, seed: int) -> Setting:
        """One run's."""
        return Setting(
            policy=self.policy,
            nodes=self.nodes,
            gpus_per_node=self.gpus_per_node,
            requests=lambda: self.requests(seed),
            until=self.until,
            changes=self.changes(seed),
        )


def cases(traces: Path | None) -> tuple[Case, ...]:
    """Those of the textbook, of recorded people, and, where the traces are, of recorded surges."""
    made = [textbook(), stepped()]
    if traces is not None:
        made.append(flash(flash_crowd(read_numbers(traces / FLASH_CROWD, "requests"))))
        made.append(went_viral(viral(read_numbers(traces / VIRAL, "value"))))
    return tuple(made)


def a_policy(tiers: tuple[Tier, ...], gpus_per_pod: int, wait_target: float) -> Policy:
    """Without loans of its own: nodes come and go as the case says, for every law alike."""
    return Policy(
        namespace="serving",
        name="image-gen",
        uid="rehearsed",
        mode=Mode.ENFORCE,
        gpus_per_pod=Gpus(gpus_per_pod),
        stale_after=Seconds(60.0),
        dwell=Seconds(60.0),
        signals=(
            Signal(
                name="wait",
                kind=SignalKind.AGENT_WAIT,
                use=SignalUse.DRIVE,
                calm=wait_target / 4,
                target=wait_target,
                critical=3 * wait_target,
            ),
            Signal(name="heat", kind=SignalKind.GPU_TEMPERATURE, use=SignalUse.DRIVE, calm=72, target=84, critical=92),
        ),
        tiers=tiers,
        capacity=None,
        features=(),
        overrides=(),
    )


def a_tier(name: TierName, priority: int, max_wait: float) -> Tier:
    """The lowest has the ladder, and a floor."""
    return Tier(
        name=name,
        priority=priority,
        weight=1,
        floor=Share(0.0 if priority else 0.02),
        max_rate=None,
        quota=None,
        max_wait=Seconds(max_wait),
        shed_status=503,
        message="",
        on_level={} if priority else LADDER,
    )


def textbook() -> Case:
    """Section 3.7 of the reference."""

    def free(at: Seconds) -> float:
        return 30.0 if 300 <= at < 1500 else 3.0

    def requests(seed: int) -> Iterator[Request]:
        streams = (
            Asked(tier=FREE, rate=free, most=30.0, seconds=Seconds(6.0)),
            Asked(tier=PRO, rate=lambda _: 6.0, most=6.0, seconds=Seconds(6.0)),
        )
        return numbered(merge(*(alike(one, Seconds(1800.0), seed) for one in streams)))

    return Case(
        name="reference",
        says="64 GPUs x 6 s images, paid 6/s, free 3, 30, 3/s; 16 of them lost for 300 s",
        policy=a_policy((a_tier(FREE, 0, 30.0), a_tier(PRO, 10, 60.0)), 8, 4.0),
        nodes=8,
        gpus_per_node=Gpus(8),
        until=Seconds(1800.0),
        load=lambda at: 6.0 * (6.0 + free(at)),
        units_a_gpu_second=1 / 6.0,
        paid_units=lambda _: 6.0,
        requests=requests,
        changes=lambda _: (Loss(nodes=(0, 1), since=Seconds(700.0), until=Seconds(1000.0)),),
    )


def stepped() -> Case:
    """A step of recorded people, with everything that can happen to the nodes."""
    shape = Shape(
        load=Envelope((0.0, 0.1499, 0.15, 0.75, 0.7501, 1.0), (0.25, 0.25, 1.0, 1.0, 0.25, 0.25)),
        peak=2.2,
        base=0.0,
        length=Seconds(3600.0),
    )
    lost = Loss(nodes=(0, 1), since=Seconds(1200.0), until=Seconds(1500.0))
    hot = Heat(node=3, since=Seconds(1700.0), until=Seconds(2300.0), loaded=Celsius(91.0))
    says = "recorded people, step of 0.55 to 2.2 times the GPUs; 2 of 8 nodes lost for 300 s, one hot, 2 lent"
    return people(
        "step", says, shape, lambda seed: (lost, hot, *loans(seed, 2, shape.exceeded() + CLAIMED, Seconds(3000.0)))
    )


def flash(shape: Envelope) -> Case:
    """The flash crowd of a football match, in an hour instead of four."""
    shaped = Shape(load=shape, peak=2.5, base=0.0, length=Seconds(3600.0))
    says = "WorldCup98's flash crowd in an hour, up to 2.5 times the GPUs; 2 nodes lent"
    return people(
        "flash crowd", says, shaped, lambda seed: loans(seed, 2, shaped.exceeded() + CLAIMED, Seconds(3000.0))
    )


def went_viral(shape: Envelope) -> Case:
    """A brand's mentions, two hours around the spike."""
    shaped = Shape(load=shape, peak=6.0, base=0.5, length=Seconds(7200.0))
    says = "NAB's mentions of KO, two hours, up to 6.5 times the GPUs within five minutes; 3 nodes lent"
    return people("viral", says, shaped, lambda seed: loans(seed, 3, shaped.exceeded() + CLAIMED, Seconds(5400.0)))


def loans(seed: int, count: int, claimed: float, until: Seconds) -> tuple[Change, ...]:
    """Nodes whose models load as recorded."""
    chance = seeded(seed, "loads")
    load = recorded_people().model_load
    return tuple(
        Loan(claimed=Seconds(claimed + 2 * i), load=Seconds(load.at(Share(chance.random()))), until=until)
        for i in range(count)
    )


def people(name: str, says: str, shape: Shape, changes: Callable[[int], tuple[Change, ...]]) -> Case:
    """64 GPUs for people as recorded."""
    recording, nodes, gpus = recorded_people(), 8, Gpus(8)
    crowd = Crowd(
        recording=recording,
        shares=USERS,
        gpus=Gpus(nodes * gpus),
        load=shape.load,
        length=shape.length,
        peak=shape.peak,
        base=shape.base,
    )
    units = mean_images(recording) / mean_gpu_seconds(recording)
    paid = sum(share for tier, share in USERS if tier != FREE)

    def load(at: Seconds) -> float:
        return nodes * gpus * shape.at(at)

    return Case(
        name=name,
        says=says,
        policy=a_policy((a_tier(FREE, 0, 60.0), a_tier(PLUS, 10, 120.0), a_tier(PRO, 20, 120.0)), gpus, 18.0),
        nodes=nodes,
        gpus_per_node=gpus,
        until=shape.length,
        load=load,
        units_a_gpu_second=units,
        paid_units=lambda at: paid * units * load(at),
        requests=lambda seed: numbered(crowded(crowd, seed)),
        changes=changes,
    )


@cache
def recorded_people() -> Recording:
    """The figures that ship with the package, so that every checkout measures the same."""
    return from_figures(shipped())


def mean_images(recording: Recording) -> Units:
    """Of a request."""
    return Units(sum(size * share for size, share in recording.images.items()) / sum(recording.images.values()))
