"""The real gate and the real counters of a pod, for the simulator: admission without HTTP, event loop or clock."""

from collections.abc import Sequence

from meltguard.agent.gate import Gate, Hindrance, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.refusal import Reason
from meltguard.agent.settings import DEFAULT_TIER, Pace
from meltguard.agent.standing import Standing, by_tier, own_gpu
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.api.grants import document_of
from meltguard.api.limit_document import DocumentKind
from meltguard.core.grant import Grant
from meltguard.core.load import AgentCounters, TierCounters
from meltguard.core.units import Gpus, PodUid, Revision, Seconds, TierName, Units
from meltguard.sim.door import Placed
from meltguard.sim.requests import Request


class RehearsedDoor:
    """A `meltguard.sim.door.Door`: what `Admission` does with gate and tally, request by request."""

    def __init__(self, pod: PodUid, gpus: Gpus, at: Seconds) -> None:
        pace = Pace()
        self._pod, self._gpus, self._pace, self._started = pod, gpus, pace, at
        self._standing = own_gpu(DEFAULT_TIER, pace)
        self._gate = Gate(gpus, pace.hard_queue, self._standing, at)
        self._tally = self._gate.tally
        self._slots: dict[int, Slot] = {}
        self._tickets: dict[int, Ticket] = {}
        self._numbers: dict[Ticket, int] = {}

    def obey(self, grant: Grant, at: Seconds) -> Sequence[int]:
        """Keep these limits from now on; the waiting requests that they turn away."""
        document = document_of(grant)
        tiers, fallback = by_tier(document.tiers, DEFAULT_TIER, self._pace)
        self._standing = Standing(
            source=LimitSource.LEASE,
            tiers=tiers,
            fallback=fallback,
            epoch=document.epoch,
            revision=document.revision,
            observing=document.kind is DocumentKind.OBSERVE,
        )
        turned_away = [self._numbers.pop(ticket) for ticket in self._gate.obey(self._standing, at)]
        for number in turned_away:
            self._refused(self._tickets.pop(number), Reason.TIER_SUSPENDED)
        return turned_away

    def offer(self, request: Request, at: Seconds) -> Placed:
        """A request comes."""
        wish = Wish(TierName(self._standing.rule(request.tier).name), request.units)
        self._tally.tier(wish.tier).offer(wish.units)
        placed = self._gate.place(wish, at)
        if isinstance(placed, Hindrance):
            self._refused(wish, placed.reason)
            return Placed.REFUSED
        if isinstance(placed, Ticket):
            self._tickets[request.number] = placed
            self._numbers[placed] = request.number
            return Placed.WAITING
        self._entered(request.number, placed, Seconds(0.0), at)
        return Placed.ENTERED

    def advance(self, at: Seconds) -> Sequence[int]:
        """Let in whoever may enter now."""
        entered = []
        for ticket, slot in self._gate.advance(at):
            number = self._numbers.pop(ticket)
            del self._tickets[number]
            self._entered(number, slot, Seconds(at - ticket.since), at)
            entered.append(number)
        return entered

    def next_turn(self, at: Seconds) -> Seconds | None:
        """Seconds until time alone lets someone in; None where only a freed GPU can."""
        return self._gate.next_turn(at)

    def leave(self, number: int, at: Seconds) -> bool:
        """A waiting request goes away; False where it does not wait any more."""
        del at
        ticket = self._tickets.pop(number, None)
        if ticket is None:
            return False
        del self._numbers[ticket]
        self._refused(ticket, Reason.WAITED_OUT)
        return self._gate.leave(ticket)

    def finish(self, number: int, took: Seconds, at: Seconds) -> None:
        """A request's images are done."""
        slot = self._slots.pop(number)
        self._gate.finish(slot, at)
        self._gate.meter.done(slot.units, Seconds(0.0), took)

    def waiting(self) -> Sequence[int]:
        """Who waits."""
        return list(self._tickets)

    def counters(self, at: Seconds) -> AgentCounters:
        """What the agent would report."""
        meter = self._gate.meter
        return AgentCounters(
            pod=self._pod,
            instance="rehearsed",
            sequence=0,
            uptime=Seconds(at - self._started),
            leased=self._standing.source is LimitSource.LEASE,
            epoch=self._standing.epoch,
            revision=Revision(self._standing.revision),
            gpus=self._gpus,
            busy=meter.busy(at),
            done=Units(meter.units_done),
            in_flight=Units(max(0.0, meter.units_in_flight)),
            quota_store="unused",
            tiers={name: self._tier(name, at) for name in self._tally.tiers},
        )

    def _tier(self, name: TierName, at: Seconds) -> TierCounters:
        counts = self._tally.tier(name)
        return TierCounters(
            offered=Units(counts.offered_units),
            barred=Units(counts.barred_units),
            admitted=Units(counts.admitted_units),
            waiting=self._gate.line.units(name),
            refused=sum(counts.refused.values()),
            squares=counts.offered_squares,
            wait_p99=Seconds(0.0),  # the law does not go by it, and sorting waits at every look is slow
            for_gpu=self._gate.waiting_for_gpu(name, at),
            rate=self._gate.rate_of(name),
        )

    def _entered(self, number: int, slot: Slot, wait: Seconds, at: Seconds) -> None:
        self._slots[number] = slot
        self._tally.tier(slot.tier).admit(slot.units, wait, at)

    def _refused(self, request: Wish | Ticket, reason: Reason) -> None:
        self._tally.tier(request.tier).refuse(reason, request.units)
