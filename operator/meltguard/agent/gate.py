"""Who may enter the GPU now, who waits, who is turned away. A state machine: time is an argument."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from meltguard.agent.bucket import NEVER, Bucket
from meltguard.agent.counters import GpuMeter
from meltguard.agent.lane import Lane, binds, lane_of, needed
from meltguard.agent.queue import Ticket, WaitingLine
from meltguard.agent.refusal import Reason
from meltguard.agent.standing import Standing
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Gpus, Seconds, TierName, Units, UnitsPerSecond

OWN_MAXIMUM_SPAN: Final = 10.0  # seconds of a tier's own maximum that may come at once


@dataclass(slots=True, eq=False)
class Slot:
    """One request in the GPU. It is held as long as the request lives, never by a timer."""

    tier: TierName
    units: Units
    since: Seconds


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a request may not enter, and in how many seconds it may be otherwise (None: nobody knows)."""

    reason: Reason
    wait: Seconds | None = None


class Wish(NamedTuple):
    """A request, as far as the gate is concerned."""

    tier: TierName
    units: Units


Placed = Slot | Ticket | Hindrance


class Gate:
    """Slots, buckets and the waiting line of one pod."""

    def __init__(self, gpus: Gpus, hard_queue: int, standing: Standing, at: Seconds) -> None:
        self._gpus, self._hard_queue = gpus, hard_queue
        self.line = WaitingLine()
        self.meter = GpuMeter(gpus, at)
        self._in_gpu: dict[TierName, int] = {}
        self._rates: dict[str, Bucket] = {}
        self._maxima: dict[str, Bucket] = {}
        self._lanes: dict[str, Lane] = {}
        self._standing = standing
        self._order: list[TierName] = []
        self.obey(standing, at)

    def obey(self, standing: Standing, at: Seconds) -> list[Ticket]:
        """Keep other limits from now on; answers whom they turn away while waiting."""
        self._standing = standing
        self._lanes = {}
        for name, rule in standing.tiers.items():
            _refit(self._rates, name, rule.rate, rule.burst, at)
            most = 0.0 if rule.max_rate is None else rule.max_rate * OWN_MAXIMUM_SPAN
            _refit(self._maxima, name, rule.max_rate, max(rule.burst, most), at)
            self._lanes[name] = lane_of(rule, self._rates.get(name), self._maxima.get(name))
        self._order = sorted(self.line.tiers(), key=self._priority, reverse=True)
        if standing.observing:
            return []
        suspended = [tier for tier in self.line.tiers() if standing.rule(tier).state is TierState.SUSPEND]
        turned_away = [ticket for tier in suspended for ticket in self.line.of(tier)]
        for ticket in turned_away:
            self.line.leave(ticket)
        return turned_away

    def before_quota(self, wish: Wish, at: Seconds) -> Hindrance | None:
        """What stands against a request before its user's own allowance is asked."""
        rule = self._standing.rule(wish.tier)
        return self._tier_is_served(rule, wish, at) or self._own_maximum_is_kept(rule, wish, at)

    def enter_at_once(self, tier: TierName, units: Units, at: Seconds) -> Slot | None:
        """Let a request enter that nothing stands against; None where `place` must look more closely.

        It answers as `place` would, in one look: nearly all requests come to a pod where nobody of their tier waits.
        """
        lane, meter = self._lanes.get(tier), self.meter
        inside = self._in_gpu.get(tier, 0)
        if (
            self._standing.observing
            or lane is None
            or inside >= lane.most
            or meter.in_flight >= self._gpus
            or self.line.count(tier)
        ):
            return None
        rate, maximum = lane.rate, lane.maximum
        if maximum is not None and not maximum.holds(units, at):
            return None
        if rate is not None:
            if not rate.holds(min(units, lane.needs), at):
                return None
            rate.take(units, at)
        if maximum is not None:
            maximum.take(units, at)
        self._in_gpu[tier] = inside + 1
        meter.start(units, at)
        return Slot(tier, units, at)

    def place(self, wish: Wish, at: Seconds) -> Placed:
        """Let a request enter, wait or go. Asks everything anew: time may have passed since `before_quota`."""
        rule = self._standing.rule(wish.tier)
        for hindrance in self._hindrances(rule, wish, at):
            if hindrance is not None:
                return hindrance
        return self._enter_or_wait(rule, wish, at, rated=False)

    def place_freely(self, wish: Wish, at: Seconds) -> Placed:
        """Let a request enter or wait, whatever the document says: only the GPU and the hard bound are guarded."""
        rule = self._standing.rule(wish.tier)
        if not self._enters_now(rule, wish, at, rated=True) and self.line.count(wish.tier) >= self._hard_queue:
            return Hindrance(Reason.QUEUE_FULL, self._gpu_wait(rule))
        return self._enter_or_wait(rule, wish, at, rated=True)

    def leave(self, ticket: Ticket) -> bool:
        """A waiting request goes away; False where it did not wait any more."""
        return self.line.leave(ticket)

    def finish(self, slot: Slot, at: Seconds) -> None:
        """A request has left the GPU."""
        self._in_gpu[slot.tier] -= 1
        self.meter.leave(slot.units, at)

    def advance(self, at: Seconds) -> list[tuple[Ticket, Slot]]:
        """Let in whoever may enter now."""
        entered = []
        while self.line and self._free():
            ticket = self.line.first(self._order, lambda head: self._may_go(head, at))
            if ticket is None:
                break
            self.line.leave(ticket)
            entered.append((ticket, self._start(Wish(ticket.tier, ticket.units), at, rated=ticket.rated)))
        return entered

    def next_turn(self, at: Seconds) -> Seconds | None:
        """Seconds until a bucket lets the next one in; None where only a freed GPU can."""
        if not self.line or not self._free():
            return None
        waits = [self._rate_wait(head, at) for tier in self._order if (head := self.line.head(tier)) is not None]
        soonest = min((wait for wait in waits if wait > 0), default=NEVER)
        return None if soonest == NEVER else soonest

    def predicted_wait(self) -> Seconds:
        """Seconds that the last in line waits for a GPU, at the measured pace."""
        drain = self.meter.drain_rate
        units = sum(self.line.units(tier) for tier in self._order)
        return Seconds(units / drain) if drain else Seconds(0.0)

    def waiting_for_gpu(self, tier: TierName, at: Seconds) -> Units:
        """Image units of the tier that only a busy GPU holds back: what its rate would let in this moment."""
        rule, waiting = self._standing.rule(tier), self.line.units(tier)
        if self._standing.observing or not binds(rule):
            return Units(max(0.0, waiting))
        rated = self.line.rated_units(tier)
        return Units(max(0.0, min(waiting, rated + self._rates[rule.name].room(at))))

    def rate_of(self, tier: TierName) -> UnitsPerSecond | None:
        """What holds the tier back now, 0 where it is suspended; None where no rate does."""
        rule = self._standing.rule(tier)
        if self._standing.observing:
            return None
        if rule.state is TierState.SUSPEND:
            return UnitsPerSecond(0.0)
        return UnitsPerSecond(rule.rate or 0.0) if binds(rule) else None

    # What stands against a request, in order; each line says why it is there.
    def _hindrances(self, rule: TierLimit, wish: Wish, at: Seconds) -> Iterator[Hindrance | None]:
        yield self._tier_is_served(rule, wish, at)  # the policy's plainest word
        yield self._own_maximum_is_kept(rule, wish, at)  # whatever the load
        if not self._enters_now(rule, wish, at, rated=False):
            yield self._rate_lets_it_wait(rule, wish, at)  # over-rate is refused at once in Reject
            yield self._wait_is_bearable(rule, wish, at)  # better told now than after waiting in vain
            yield self._queue_has_room(rule, wish, at)  # the bound that always holds

    def _tier_is_served(self, rule: TierLimit, _wish: Wish, _at: Seconds) -> Hindrance | None:
        return Hindrance(Reason.TIER_SUSPENDED) if rule.state is TierState.SUSPEND else None

    def _own_maximum_is_kept(self, rule: TierLimit, wish: Wish, at: Seconds) -> Hindrance | None:
        wait = self._maxima[rule.name].wait(wish.units, at) if rule.max_rate is not None else Seconds(0.0)
        return Hindrance(Reason.OWN_MAXIMUM, wait) if wait > 0 else None

    def _rate_lets_it_wait(self, rule: TierLimit, wish: Wish, at: Seconds) -> Hindrance | None:
        if rule.state is not TierState.REJECT or rule.rate is None:
            return None
        wait = self._rates[rule.name].wait(needed(rule, wish.units), at)
        return Hindrance(Reason.OVER_RATE, wait) if wait > 0 else None

    def _wait_is_bearable(self, rule: TierLimit, wish: Wish, at: Seconds) -> Hindrance | None:
        gpu, rate = self._gpu_wait(rule), self._backlog_wait(rule, wish, at)
        if max(gpu, rate) <= rule.max_wait:
            return None
        return Hindrance(Reason.OVER_RATE, rate) if rate > gpu else Hindrance(Reason.WAIT_TOO_LONG, gpu)

    def _queue_has_room(self, rule: TierLimit, wish: Wish, at: Seconds) -> Hindrance | None:
        if self.line.count(wish.tier) < min(rule.queue, self._hard_queue):
            return None
        return Hindrance(Reason.QUEUE_FULL, max(self._gpu_wait(rule), self._backlog_wait(rule, wish, at)))

    def _enter_or_wait(self, rule: TierLimit, wish: Wish, at: Seconds, *, rated: bool) -> Slot | Ticket:
        if rule.max_rate is not None and not rated:
            self._maxima[rule.name].take(wish.units, at)
        if self._enters_now(rule, wish, at, rated=rated):
            return self._start(wish, at, rated=rated)
        if not rated and rule.state is TierState.REJECT and rule.rate is not None:
            self._rates[rule.name].take(wish.units, at)  # it is within the rate and waits for a GPU only
            rated = True
        ticket = Ticket(wish.tier, wish.units, at, rated or not binds(rule))
        self.line.push(ticket)
        self._order = sorted(self.line.tiers(), key=self._priority, reverse=True)
        return ticket

    def _enters_now(self, rule: TierLimit, wish: Wish, at: Seconds, *, rated: bool) -> bool:
        if not self._free() or self.line.count(wish.tier) or self._tier_is_full(rule, wish.tier):
            return False
        return rated or not binds(rule) or self._rates[rule.name].wait(needed(rule, wish.units), at) <= 0

    def _start(self, wish: Wish, at: Seconds, *, rated: bool) -> Slot:
        rule = self._standing.rule(wish.tier)
        if not rated and binds(rule):
            self._rates[rule.name].take(wish.units, at)
        self._in_gpu[wish.tier] = self._in_gpu.get(wish.tier, 0) + 1
        self.meter.start(wish.units, at)
        return Slot(wish.tier, wish.units, at)

    def _may_go(self, ticket: Ticket, at: Seconds) -> bool:
        full = self._tier_is_full(self._standing.rule(ticket.tier), ticket.tier)
        return not full and self._rate_wait(ticket, at) <= 0

    def _rate_wait(self, ticket: Ticket, at: Seconds) -> Seconds:
        rule = self._standing.rule(ticket.tier)
        if ticket.rated or self._standing.observing or not binds(rule):
            return Seconds(0.0)
        return self._rates[rule.name].wait(needed(rule, ticket.units), at)

    def _tier_is_full(self, rule: TierLimit, tier: TierName) -> bool:
        if self._standing.observing or rule.concurrency is None:
            return False
        return self._in_gpu.get(tier, 0) >= rule.concurrency

    def _free(self) -> bool:
        return self.meter.in_flight < self._gpus

    def _gpu_wait(self, rule: TierLimit) -> Seconds:
        """Seconds until a GPU comes free for this tier: what is as important goes first, half of what runs is done."""
        drain = self.meter.drain_rate
        if drain is None or self._free():
            return Seconds(0.0)
        ahead = sum(self.line.units(tier) for tier in self._order if self._priority(tier) >= rule.priority)
        return Seconds((ahead + self.meter.units_in_flight / 2) / drain)

    def _backlog_wait(self, rule: TierLimit, wish: Wish, at: Seconds) -> Seconds:
        """Seconds until the tier's rate has let in those who wait and this one."""
        if rule.state is not TierState.DELAY or rule.rate is None:
            return Seconds(0.0)
        return self._rates[rule.name].wait(wish.units, at, self.line.units(wish.tier))

    def _priority(self, tier: TierName) -> int:
        return self._standing.rule(tier).priority


def _refit(buckets: dict[str, Bucket], tier: str, rate: float | None, burst: float, at: Seconds) -> None:
    """Give a tier's bucket its new rate. Without one it stays as it is: a limit that returns finds it drawn."""
    if rate is None:
        return
    if tier in buckets:
        buckets[tier].change(UnitsPerSecond(rate), Units(burst), at)
    else:
        buckets[tier] = Bucket.full(UnitsPerSecond(rate), Units(burst), at)
