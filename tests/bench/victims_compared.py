"""Ways to empty nodes of the same cluster at the same moment, and what each really costs."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from bench.jobs_replay import NODE_GPUS, Running
from meltguard.core.fleet import Guards, NodeView
from meltguard.core.harm import survey
from meltguard.core.policy import Eviction, OnDeadline
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Seconds
from meltguard.core.victims import Need, Place, choose_nodes
from support.core_values import a_node, a_pod

HOUR: Final = 3600.0
CHECKPOINT_EVERY: Final = HOUR
RESEARCH: Final = PoolName("research")

EVICTION: Final = Eviction(
    notice=Seconds(120.0),
    minimum_runtime=Seconds(0.0),  # as other schedulers have it: newest-first may take the very newest
    deadline=Seconds(600.0),
    on_deadline=OnDeadline.GIVE_UP,
    loses_local_data=False,
    fails_jobs=False,
)


class Checkpoints(StrEnum):
    """The trace knows of no checkpoints, so they are assumed: which jobs save their work each hour and say so."""

    NOBODY = "nobody reports checkpoints"
    HALF = "half of the jobs report one each hour"
    EVERYBODY = "all jobs report one each hour"

    def told_by(self, number: int) -> bool:
        """Whether this job reports. Half is every second job, by its number: no chance is involved."""
        return self is Checkpoints.EVERYBODY or (self is Checkpoints.HALF and number % 2 == 0)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A cluster, asked for nodes."""

    at: float
    nodes: int
    running: Sequence[Running]
    wanted: int  # nodes
    checkpoints: Checkpoints

    @cached_property
    def busy(self) -> Mapping[int, list[Running]]:
        """The jobs of each node that has any."""
        found: dict[int, list[Running]] = {}
        for one in self.running:
            for node, _ in one.parts:
                found.setdefault(node, []).append(one)
        return found

    @property
    def short(self) -> int:
        """Nodes that must be emptied, when the idle ones are taken."""
        return max(0, self.wanted - (self.nodes - len(self.busy)))

    def saved(self, one: Running) -> float | None:
        """When the job last said that it saved its work; None where it never did."""
        saves = math.floor((self.at - one.started) / CHECKPOINT_EVERY)
        return one.started + saves * CHECKPOINT_EVERY if saves and self.checkpoints.told_by(one.job.number) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What a choice costs, counted from the jobs themselves, without any cap."""

    gpu_hours: float
    jobs: int


Way = Callable[[Moment], set[int]]
"""Picks the busy nodes to empty."""


def harm_of(moment: Moment, nodes: set[int]) -> Harm:
    """Every job with a part on one of these nodes loses all its parts' work since it was saved."""
    hit = [one for one in moment.running if any(node in nodes for node, _ in one.parts)]
    hours = math.fsum(one.job.gpus * (moment.at - (moment.saved(one) or one.started)) for one in hit) / HOUR
    return Harm(gpu_hours=hours, jobs=len(hit))


def least_harm(moment: Moment) -> set[int]:
    """What the operator would choose."""
    nodes = [_node(moment, number) for number in range(moment.nodes)]
    places = [Place(node=node, worth=node.gpus, home=RESEARCH, turn=0, eviction=EVICTION) for node in nodes]
    need = Need(
        missing=Gpus(NODE_GPUS * moment.wanted),
        room=moment.wanted,
        rooms={RESEARCH: moment.nodes},
        priority=0,
    )
    choice = choose_nodes(places, need, survey(nodes, Guards(), Instant(moment.at)))
    return {nodes.index(node) for node in choice.nodes if node.pods}


def newest_first(moment: Moment) -> set[int]:
    """As queue systems do it: evict the newest job, and the next, until enough nodes are free; then spare the rest."""
    order = sorted(moment.running, key=lambda one: (-one.started, one.job.number))
    evicted: list[Running] = []
    for one in order:
        if len(_freed(moment, evicted)) >= moment.short:
            break
        evicted.append(one)
    for one in list(reversed(evicted)):
        others = [other for other in evicted if other is not one]
        if len(_freed(moment, others)) >= moment.short:
            evicted = others
    return set(sorted(_freed(moment, evicted))[: moment.short])


def newest_node_first(moment: Moment) -> set[int]:
    """The simple form: the nodes whose latest job began last, whatever else they bear."""
    order = sorted(moment.busy, key=lambda node: (-max(one.started for one in moment.busy[node]), node))
    return set(order[: moment.short])


def one_node_at_best(moment: Moment) -> set[int]:
    """The bound: knows what each node costs, and takes the one that costs least."""
    return {min(moment.busy, key=lambda node: (harm_of(moment, {node}).gpu_hours, node))}


def at_random(chance: random.Random) -> Way:
    """Any nodes."""

    def pick(moment: Moment) -> set[int]:
        return set(chance.sample(sorted(moment.busy), moment.short))

    return pick


def _freed(moment: Moment, evicted: Sequence[Running]) -> set[int]:
    gone = {one.job.number for one in evicted}
    return {node for node, jobs in moment.busy.items() if all(one.job.number in gone for one in jobs)}


def _node(moment: Moment, number: int) -> NodeView:
    name = f"gpu-{number:03}"
    pods = tuple(
        a_pod(
            f"job-{one.job.number}-{number}",
            node=NodeName(name),
            gpus=Gpus(gpus),
            owner_uid=f"job-{one.job.number}",
            gang=f"Job research/job-{one.job.number}",
            started_at=Instant(one.started),
            saved_at=None if (saved := moment.saved(one)) is None else Instant(saved),
        )
        for one in moment.running
        for node, gpus in one.parts
        if node == number
    )
    return a_node(name, pods=pods)
