"""Requests at the pods: sent to the least busy one, let in by its door, served, or turned away."""

from collections.abc import Callable
from dataclasses import dataclass

from meltguard.core.grant import Grant
from meltguard.core.units import Seconds, TierName, Units
from meltguard.sim.door import Placed
from meltguard.sim.fleet import Fleet, Pod
from meltguard.sim.ledger import Ledger
from meltguard.sim.requests import Request
from meltguard.sim.spread import seeded

Scheduler = Callable[[Seconds, Callable[[Seconds], None]], None]


@dataclass(frozen=True, slots=True)
class Stay:
    """A waiting request and where it waits."""

    request: Request
    pod: Pod


class Serving:
    """Every request from its coming to its end."""

    def __init__(self, fleet: Fleet, ledger: Ledger, schedule: Scheduler, max_wait: dict[TierName, Seconds]) -> None:
        self._fleet, self._ledger, self._schedule, self._max_wait = fleet, ledger, schedule, max_wait
        self._chance = seeded(1, "gateway")
        self._stays: dict[int, Stay] = {}
        self._offered: dict[TierName, Units] = {}

    def come(self, request: Request, at: Seconds) -> None:
        """A user asks."""
        sums = self._ledger.tiers[request.tier]
        sums.offered += 1
        sums.offered_units += request.units
        self._offered[request.tier] = Units(self._offered.get(request.tier, 0.0) + request.units)
        self._send(request, at)

    def offered_since(self) -> dict[TierName, Units]:
        """Units offered since this was last asked."""
        offered, self._offered = self._offered, {}
        return offered

    def obey(self, pod: Pod, grant: Grant, at: Seconds) -> None:
        """A pod gets new limits."""
        for number in pod.door.obey(grant, at):
            self._turned_away(number)
        self._advance(pod, at)

    def empty(self, pod: Pod, at: Seconds) -> None:
        """What waits at a pod that serves no longer is sent to another."""
        for number in list(pod.door.waiting()):
            if pod.door.leave(number, at):
                pod.open -= 1
                self._send(self._stays.pop(number).request, at)

    def _send(self, request: Request, at: Seconds) -> None:
        pods = self._fleet.ready()
        if not pods:
            self._refuse(request)
            return
        least = min(pod.open for pod in pods)
        pod = self._chance.choice([pod for pod in pods if pod.open == least])
        match pod.door.offer(request, at):
            case Placed.ENTERED:
                pod.open += 1
                self._start(pod, request, at)
            case Placed.WAITING:
                pod.open += 1
                self._stays[request.number] = Stay(request, pod)
                end = Seconds(max(at, request.at + self._max_wait[request.tier]))
                self._schedule(end, lambda then: self._give_up(request.number, then))
                self._advance(pod, at)
            case Placed.REFUSED:
                self._refuse(request)

    def _start(self, pod: Pod, request: Request, at: Seconds) -> None:
        sums = self._ledger.tiers[request.tier]
        sums.admitted += 1
        sums.waits.append((request.at, Seconds(at - request.at)))
        pod.account(at)
        pod.running[request.number] = (request, at)
        end = Seconds(at + request.seconds / pod.speed)
        self._schedule(end, lambda then: self._finish(pod, request.number, then))

    def _finish(self, pod: Pod, number: int, at: Seconds) -> None:
        pod.account(at)
        request, started = pod.running.pop(number)
        pod.open -= 1
        sums = self._ledger.tiers[request.tier]
        sums.done += 1
        sums.done_units += request.units
        pod.door.finish(number, Seconds(at - started), at)
        self._advance(pod, at)

    def _advance(self, pod: Pod, at: Seconds) -> None:
        for number in pod.door.advance(at):
            self._start(pod, self._stays.pop(number).request, at)
        wait = pod.door.next_turn(at)
        if wait is None:
            return
        turn = Seconds(at + wait)
        if pod.turn_at is None or turn < pod.turn_at:
            pod.turn_at = turn
            self._schedule(turn, lambda then: self._turn(pod, then))

    def _turn(self, pod: Pod, at: Seconds) -> None:
        if pod.turn_at == at:
            pod.turn_at = None
            self._advance(pod, at)

    def _give_up(self, number: int, at: Seconds) -> None:
        stay = self._stays.get(number)
        if stay is not None and stay.pod.door.leave(number, at):
            self._turned_away(number)
            self._advance(stay.pod, at)

    def _turned_away(self, number: int) -> None:
        stay = self._stays.pop(number)
        stay.pod.open -= 1
        self._refuse(stay.request)

    def _refuse(self, request: Request) -> None:
        sums = self._ledger.tiers[request.tier]
        sums.refused += 1
        sums.turned_away.append(request.at)
