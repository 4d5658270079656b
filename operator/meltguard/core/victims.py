"""Which nodes to take: those whose work loses least, and no more of them than the shortage asks for."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from meltguard.core.fleet import NodeView
from meltguard.core.guarded import Guarded
from meltguard.core.harm import HOUR, Loss, Stakes, leaving, losses, lost_hours
from meltguard.core.policy import Eviction, HarmBounds
from meltguard.core.preflight import Obstacle, obstacles_among
from meltguard.core.units import Gpus, NodeName, PoolName
from meltguard.core.wording import counted

ROUNDING: Final = 0.01
"""Of a GPU: so little is not missing."""

LEAST_RELIEF: Final = 0.1
"""GPUs: below this, work is weighed as if so much were relieved."""

NOBODY: Final = float("-inf")
"""The priority of work where none is broken off."""


LENT_WEIGHS: Final = 0.25
"""An hour for which each of a lender's GPUs was lent lately weighs like so many hours of work lost: else whoever saves
its work most often would lend always, and would be taught to save it less often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node that its lender could give, busy or not."""

    node: NodeView
    worth: float  # how many of the missing GPUs it stands for
    home: PoolName
    turn: int  # the lender's place in borrowFrom; what a provider made comes before all
    eviction: Eviction | None  # None: its pool lends idle nodes only
    bounds: HarmBounds = field(default_factory=HarmBounds)
    burden: float = 0.0  # hours that each of the lender's GPUs was lent lately
    burden_per_gpu: float = 0.0  # what each further GPU from this lender adds


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is asked for."""

    missing: Gpus  # such as serve today
    room: int  # nodes, by the policy
    rooms: Mapping[PoolName, int]  # nodes, by each lender
    priority: int  # of the service: work above it is never broken off
    emptying: Mapping[PoolName, int] = field(default_factory=dict)  # nodes that open moves empty, by each lender
    by_chance: str = ""  # why it may be short by chance; "": it surely is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a node is not taken."""

    text: str  # the end of a sentence that begins with the node's name
    obstacles: tuple[Obstacle, ...] = ()


@dataclass(slots=True, kw_only=True)
class Choice:
    """Nodes in the order of their taking, and why others, which would have come before, were left."""

    stakes: Stakes
    need: Need
    guards: Guarded  # with what is taken pledged
    taken: list[Place] = field(default_factory=list)
    refused: dict[NodeName, Refusal] = field(default_factory=dict)
    _alone: dict[NodeName, tuple[Loss, ...]] = field(default_factory=dict)

    def alone(self, node: NodeView) -> tuple[Loss, ...]:
        """What emptying this node alone breaks off."""
        if node.name not in self._alone:
            self._alone[node.name] = losses(self.stakes, [node])
        return self._alone[node.name]

    @property
    def left(self) -> float:
        """GPUs that are still missing."""
        left = self.need.missing - _worth(self.taken)
        return left if left > ROUNDING else 0.0

    @property
    def nodes(self) -> tuple[NodeView, ...]:
        """What is taken."""
        return tuple(place.node for place in self.taken)

    def take(self, place: Place) -> None:
        """One node more; budgets must bear its evictions from now on."""
        self.taken.append(place)
        self.guards = self.guards.pledging(leaving([place.node]))


def choose_nodes(places: Sequence[Place], need: Need, stakes: Stakes) -> Choice:
    """Take the node that costs least until the shortage is covered or nothing may be taken; drop what is not needed.

    What a node costs depends on what is taken already: a gang is broken once, so its other nodes come next.
    """
    choice = Choice(stakes=stakes, need=need, guards=Guarded.by(stakes.guards))
    untried = list(places)
    while choice.left > 0 and len(choice.taken) < need.room:
        found = _next(choice, untried)
        if found is None:
            break
        choice.take(found)
        untried = [place for place in untried if place is not found and place.node.name not in choice.refused]
    choice.taken = _needed(choice)
    return choice


def _next(choice: Choice, untried: Sequence[Place]) -> Place | None:
    """The cheapest that may be taken; those before it are refused, for good: more taken makes no refusal void."""
    given = {home: sum(place.home == home for place in choice.taken) for home in choice.need.rooms}
    open_places = [place for place in untried if given.get(place.home, 0) < choice.need.rooms.get(place.home, 0)]
    idle = [place for place in open_places if not place.node.movable_pods]
    if idle:
        return min(idle, key=_Costs(choice, idle).of)  # they come before all others, and no rule refuses one
    costs = _Costs(choice, open_places)
    for place in sorted(open_places, key=costs.of):
        refusal = _refusal(choice, place, costs.harm_of(place))
        if refusal is None:
            return place
        choice.refused[place.node.name] = refusal
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Harm:
    """What one further node costs, beyond what is broken off already."""

    new: tuple[Loss, ...]
    hours: float  # GPU-hours of work
    relief: float  # GPUs such as serve today

    @property
    def per_gpu(self) -> float:
        """Hours of work for each GPU that is relieved."""
        return self.hours / max(LEAST_RELIEF, self.relief)


class _Costs:
    """What each further node costs, least first."""

    def __init__(self, choice: Choice, places: Sequence[Place]) -> None:
        self._choice = choice
        self._before = lost_hours(choice.stakes, choice.nodes)
        self._broken = frozenset(loss.work.name for loss in losses(choice.stakes, choice.nodes))
        self._places = {place.node.name: place for place in places}
        self._given: Counter[PoolName] = Counter()
        for one in choice.taken:
            self._given[one.home] += one.node.gpus

    def of(self, place: Place) -> tuple[bool, float, float, int, float, int, float, float, NodeName]:
        """Idle first; by priority; by the work lost for each GPU that relieves and who lent least; the best fit."""
        node, harm = place.node, self.harm_of(place)
        priority = max((loss.work.priority for loss in harm.new if not loss.work.broken), default=NOBODY)
        burden = place.burden + place.burden_per_gpu * self._given[place.home]
        borne = harm.per_gpu + LENT_WEIGHS * burden
        order = (bool(node.movable_pods), priority, borne, len(harm.new))
        return (*order, burden, place.turn, -harm.relief, place.worth, node.name)

    def harm_of(self, place: Place) -> _Harm:
        """What taking it too would break off."""
        choice, node = self._choice, place.node
        hit = choice.alone(node)
        new = tuple(loss for loss in hit if loss.work.name not in self._broken)
        hours = math.fsum(loss.hours for loss in new)
        if len(new) < len(hit):
            hours = lost_hours(choice.stakes, [*choice.nodes, node]) - self._before
        return _Harm(new=new, hours=hours, relief=self._relief(place, new))

    def _relief(self, place: Place, new: Sequence[Loss]) -> float:
        """What breaking this work off frees: the node's GPUs, and those of nodes that bear nothing else, if wanted."""
        broken = self._broken.union(loss.work.name for loss in new)
        near = {pod.node for loss in new for pod in loss.work.pods if pod.node in self._places} - {place.node.name}
        beside = [self._places[name] for name in near]
        freed = [one.worth for one in beside if all(loss.work.name in broken for loss in self._choice.alone(one.node))]
        room = self._choice.need.room - len(self._choice.taken) - 1
        return min(self._choice.left, place.worth + math.fsum(sorted(freed, reverse=True)[: max(0, room)]))


def _needed(choice: Choice) -> list[Place]:
    """Drop every node without which the shortage is still covered, the dearest first."""

    def spared(place: Place) -> tuple[float, float, NodeName]:
        others = [one.node for one in choice.taken if one is not place]
        return (lost_hours(choice.stakes, others), place.worth, place.node.name)

    kept = list(choice.taken)
    for place in sorted(choice.taken, key=spared):
        others = [one for one in kept if one is not place]
        if _worth(others) >= choice.need.missing - ROUNDING:
            kept = others
    return kept


def _worth(places: Sequence[Place]) -> float:
    return math.fsum(place.worth for place in places)


def whole_gpus(missing: float) -> Gpus:
    """The GPUs that make up for what is missing; 0 where nothing is, or hardly anything."""
    return Gpus(max(0, math.ceil(missing - ROUNDING)))


def in_gpus(count: float) -> str:
    """A number of GPUs in words; parts of one come of models that do less or more than today's.

    >>> in_gpus(8.0), in_gpus(1.648)
    ('8', '1.6')
    """
    return f"{count:.1f}".removesuffix(".0")


BusyRule = Callable[[Choice, Place, _Harm], Refusal | None]


def _refusal(choice: Choice, place: Place, harm: _Harm) -> Refusal | None:
    if not place.node.movable_pods:
        return None
    return next((refusal for rule in BUSY_RULES if (refusal := rule(choice, place, harm))), None)


def in_use(node: NodeView, eviction: Eviction | None) -> str:
    """Why a pool on these terms does not lend a busy node; "" where it does, or the node is idle."""
    pods = node.movable_pods
    said = f"is in use by {counted(len(pods), 'pod')}; its pool lends idle nodes only"
    return said if pods and eviction is None else ""


def _only_idle_nodes_are_lent(_: Choice, place: Place, __: _Harm) -> Refusal | None:
    why = in_use(place.node, place.eviction)
    return Refusal(text=why) if why else None


def _may_be_chance(choice: Choice, _: Place, __: _Harm) -> Refusal | None:
    return Refusal(text=f"is in use, and {choice.need.by_chance}") if choice.need.by_chance else None


def _work_outranks_the_service(choice: Choice, place: Place, _: _Harm) -> Refusal | None:
    above = [loss.work for loss in choice.alone(place.node) if loss.work.priority > choice.need.priority]
    if not above:
        return None
    top = max(above, key=lambda work: work.priority)
    return Refusal(text=f"runs {top.name} of priority {top.priority}, the service's is {choice.need.priority}")


def _gain_is_small(choice: Choice, place: Place, _: _Harm) -> Refusal | None:
    if 2 * choice.left >= place.worth:
        return None
    worth, left = in_gpus(place.worth), in_gpus(choice.left)
    return Refusal(text=f"is in use and stands for {worth} GPUs, {left} are missing; at least half must be missing")


def _loss_is_out_of_proportion(choice: Choice, place: Place, harm: _Harm) -> Refusal | None:
    """However short the wave may be, nobody knows: what it may cost is bounded by what it relieves."""
    most = place.bounds.per_gpu / HOUR
    if harm.hours <= most * harm.relief:
        return None
    relieved = f"{in_gpus(harm.relief)} of {in_gpus(choice.left)} missing GPUs"
    lost = f"would lose {harm.hours:.1f} GPU-hours of work for {relieved}"
    return Refusal(text=f"{lost}; its pool bears {most:.1f} for each (lending.eviction.maxLossPerGPU)")


def _too_many_are_emptied(choice: Choice, place: Place, _: _Harm) -> Refusal | None:
    """Research notices one node at a time, not a wave."""
    most, taken = place.bounds.nodes_at_once, [one for one in choice.taken if one.home == place.home]
    count = choice.need.emptying.get(place.home, 0) + sum(bool(one.node.movable_pods) for one in taken)
    if count < most:
        return None
    return Refusal(
        text=f"is in use, and pool {place.home} has {counted(count, 'node')} being emptied, at most {most} may be at a "
        "time (lending.eviction.maxAtOnce)"
    )


def _pods_cannot_leave(choice: Choice, place: Place, _: _Harm) -> Refusal | None:
    """Budgets must bear what is taken already too."""
    found = obstacles_among(place.node, place.eviction, choice.guards, choice.stakes.now) if place.eviction else ()
    if not found:
        return None
    told = sorted(found, key=lambda one: not one.lasting)
    return Refusal(text="; ".join(f"{one.pod}: {one.reason}, {one.text}" for one in told[:2]), obstacles=tuple(told))


BUSY_RULES: Final[tuple[BusyRule, ...]] = (
    _only_idle_nodes_are_lent,  # the lender's word
    _work_outranks_the_service,
    _may_be_chance,  # harm for what may be over at once
    _gain_is_small,  # harm for little relief
    _loss_is_out_of_proportion,  # much harm for some relief
    _too_many_are_emptied,  # the lender's pace
    _pods_cannot_leave,  # nothing is evicted that cannot all go
)
