"""Who may enter the GPU now, who waits, who is turned away. A state machine: time is an argument."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from meltguard.agent.bucket import NEVER
from meltguard.agent.counters import GpuMeter, Tally
from meltguard.agent.floors import Floors
from meltguard.agent.lane import Holder, Lane, Lasting, Slot, lane_of
from meltguard.agent.queue import WaitingLine
from meltguard.agent.rates import Rates, binds, held_to
from meltguard.agent.refusal import Reason
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Outlook, Ticket
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Gpus, Seconds, TierName, Units, UnitsPerSecond


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a request may not enter, and in how many seconds it may be otherwise (None: nobody knows)."""

    reason: Reason
    wait: Seconds | None = None


class Wish(NamedTuple):
    """A request, as far as the gate is concerned."""

    tier: TierName
    units: Units
    user: str = ""  # whose turn it is


Placed = Slot | Ticket | Hindrance
NOT_THERE: Final = object()


class Gate:
    """Slots, buckets and the waiting line of one pod."""

    def __init__(self, gpus: Gpus, hard_queue: int, standing: Standing, at: Seconds) -> None:
        self._gpus, self._hard_queue = gpus, hard_queue
        self.line = WaitingLine()
        self.meter = GpuMeter(gpus, at)
        self.rates = Rates()
        self.floors = Floors()
        self.tally = Tally()
        self.slots: dict[Slot, Holder | None] = {}  # in use, and who holds them, once it is known
        self.lanes: dict[str, Lane] = {}
        self._gave_way: list[Ticket] = []
        self.standing = standing
        self._order: list[TierName] = []
        self.obey(standing, at)

    def obey(self, standing: Standing, at: Seconds) -> list[Ticket]:
        """Keep other limits from now on; answers whom they turn away while waiting."""
        self.standing = standing
        self.rates.obey(standing, at)
        self.floors.obey(standing)
        self.lanes = {name: self._lane_of(rule) for name, rule in standing.tiers.items()}
        self.fallback = self._lane_of(standing.fallback)  # of a tier that the document does not know
        self._order = sorted(self.line.tiers(), key=self._priority, reverse=True)
        if standing.observing:
            return []
        suspended = [tier for tier in self.line.tiers() if standing.rule(tier).state is TierState.SUSPEND]
        turned_away = [ticket for tier in suspended for ticket in self.line.of(tier).tickets()]
        for ticket in turned_away:
            self.line.leave(ticket)
        return turned_away

    def before_quota(self, wish: Wish, at: Seconds) -> Hindrance | None:
        """What stands against a request before its user's own allowance is asked."""
        rule = self.standing.rule(wish.tier)
        return self._tier_is_served(rule, wish, at) or self._own_maximum_is_kept(rule, wish, at)

    def enter_at_once(self, lane: Lane, slot: Slot, user: str, holder: Holder) -> bool:
        """Let a request of this user enter that nothing stands against; False where `place` must look more closely.

        It answers as `place` would, in one look: nearly all requests come to a pod where nobody of their tier waits.
        """
        meter, units, at = self.meter, slot.units, slot.since
        if lane.counts.inside >= lane.most or meter.in_flight >= meter.room or lane.waiting:
            return False
        if not lane.draw(units, user, at):
            return False
        lane.counts.inside += 1
        meter.start(units, at)
        self.slots[slot] = holder
        return True

    def hand_over(self, slot: Slot, request: Slot, holder: Holder | None) -> None:
        """The slot that came by turn is the waiting request itself from now on."""
        self.slots.pop(slot, None)
        request.since = slot.since
        self.slots[request] = holder

    def place(self, wish: Wish, at: Seconds) -> Placed:
        """Let a request enter, wait or go. Asks everything anew: time may have passed since `before_quota`.

        Whoever gave its place in the line up for it is told by `gave_way`.
        """
        rule = self.standing.rule(wish.tier)
        hindrance = next(filter(None, self._hindrances(rule, wish, at)), None)
        if hindrance is None and self._enters_now(rule, wish, at, rated=False):
            self.rates.draw_maximum(rule, wish.units, wish.user, at)
            return self._start(wish, at, rated=False)
        self.floors.wants(wish.tier, at)
        if hindrance is not None:
            return hindrance
        full = self._line_is_full(rule, wish, at)
        if full is not None and not self._another_gives_way(wish):
            return full
        self.rates.draw_maximum(rule, wish.units, wish.user, at)
        return self._wait(rule, wish, at)

    def place_freely(self, wish: Wish, at: Seconds) -> Placed:
        """Let a request enter or wait, whatever the document says: only the GPU and the hard bound are guarded."""
        rule = self.standing.rule(wish.tier)
        if self._enters_now(rule, wish, at, rated=True):
            return self._start(wish, at, rated=True)
        if self.line.count(wish.tier) >= self._hard_queue and not self._another_gives_way(wish):
            return Hindrance(Reason.QUEUE_FULL, self._gpu_wait(rule, self.line.units(wish.tier), at))
        return self._push(wish, at, rated=True)

    def gave_way(self) -> list[Ticket]:
        """Who lost a place in the line to a user with fewer waiting, since this was last asked."""
        gone, self._gave_way = self._gave_way, []
        return gone

    def leave(self, ticket: Ticket) -> bool:
        """A waiting request goes away; False where it did not wait any more."""
        return self.line.leave(ticket)

    def finish(self, slot: Slot, at: Seconds) -> bool:
        """A request has left the GPU. What left before does not leave again: False."""
        if self.slots.pop(slot, NOT_THERE) is NOT_THERE:
            return False
        slot.counts.inside -= 1
        self.meter.leave(slot.units, at)
        return True

    def advance(self, at: Seconds) -> list[tuple[Ticket, Slot]]:
        """Let in whoever may enter now."""
        entered = []
        while self.line and self._free():
            order = [*self.floors.before(self._order, self.line), *self._order]
            ticket = self.line.first(order, lambda head: self._may_go(head, at))
            if ticket is None:
                break
            self.line.take(ticket)
            self.floors.drained(ticket.tier, ticket.units, at, self.line)
            entered.append((ticket, self._start(Wish(ticket.tier, ticket.units, ticket.user), at, rated=ticket.rated)))
        return entered

    def next_turn(self, at: Seconds) -> Seconds | None:
        """Seconds until a bucket lets the next one in; None where only a freed GPU can."""
        if not self.line or not self._free():
            return None
        waits = [self._rate_wait(head, at) for tier in self._order if (head := self.line.of(tier).first()) is not None]
        soonest = min((wait for wait in waits if wait > 0), default=NEVER)
        return None if soonest == NEVER else soonest

    def predicted_wait(self, at: Seconds) -> Seconds:
        """Seconds that the last in line waits for a GPU, at the measured pace."""
        drain = self.meter.drain_rate_at(at)
        units = sum(self.line.units(tier) for tier in self._order) + self.meter.others_units
        return Seconds(units / drain) if drain else Seconds(0.0)

    def outlook(self, ticket: Ticket, at: Seconds) -> Outlook | None:
        """How long a request still waits, and behind how many; None where it does not wait any more."""
        line, rule = self.line.of(ticket.tier), self.standing.rule(ticket.tier)
        if ticket not in line:
            return None
        count, units = line.before(ticket)
        first = [tier for tier in self._order if tier != ticket.tier and self._priority(tier) >= rule.priority]
        rate = Seconds(0.0) if ticket.rated else self.rates.backlog_wait(rule, ticket.units, at, units)
        position = 1 + count + sum(self.line.count(tier) for tier in first)
        return Outlook(position, max(self._gpu_wait(rule, units, at), rate))

    def waiting_for_gpu(self, tier: TierName, at: Seconds) -> Units:
        """Image units of the tier that only a busy GPU holds back: what its rate would let in this moment."""
        rule, waiting = self.standing.rule(tier), self.line.units(tier)
        if self.standing.observing or not binds(rule):
            return waiting
        return Units(max(0.0, min(waiting, self.line.of(tier).rated + self.rates.room(rule, at))))

    def rate_of(self, tier: TierName) -> UnitsPerSecond | None:
        """What holds the tier back now, 0 where it is suspended; None where no rate does."""
        return None if self.standing.observing else held_to(self.standing.rule(tier))

    # What stands against a request, in order; each line says why it is there.
    def _hindrances(self, rule: TierLimit, wish: Wish, at: Seconds) -> Iterator[Hindrance | None]:
        yield self._tier_is_served(rule, wish, at)  # the policy's plainest word
        yield self._own_maximum_is_kept(rule, wish, at)  # whatever the load
        if not self._enters_now(rule, wish, at, rated=False):
            yield self._rate_lets_it_wait(rule, wish, at)  # over-rate is refused at once in Reject
            yield self._wait_is_bearable(rule, wish, at, self.line.of(wish.tier).units_before(wish.user))

    def _tier_is_served(self, rule: TierLimit, _wish: Wish, _at: Seconds) -> Hindrance | None:
        return Hindrance(Reason.TIER_SUSPENDED) if rule.state is TierState.SUSPEND else None

    def _own_maximum_is_kept(self, rule: TierLimit, wish: Wish, at: Seconds) -> Hindrance | None:
        wait = self.rates.maximum_wait(rule, wish.units, wish.user, at)
        return Hindrance(Reason.OWN_MAXIMUM, wait) if wait > 0 else None

    def _rate_lets_it_wait(self, rule: TierLimit, wish: Wish, at: Seconds) -> Hindrance | None:
        wait = self.rates.wait(rule, wish.units, wish.user, at) if rule.state is TierState.REJECT else Seconds(0.0)
        return Hindrance(Reason.OVER_RATE, wait) if wait > 0 else None

    def _wait_is_bearable(self, rule: TierLimit, wish: Wish, at: Seconds, ahead: Units) -> Hindrance | None:
        """Better told now than after waiting in vain behind `ahead` units of the tier."""
        gpu, rate = self._gpu_wait(rule, ahead, at), self.rates.backlog_wait(rule, wish.units, at, ahead)
        if max(gpu, rate) <= rule.max_wait:
            return None
        return Hindrance(Reason.OVER_RATE, rate) if rate > gpu else Hindrance(Reason.WAIT_TOO_LONG, gpu)

    def _line_is_full(self, rule: TierLimit, wish: Wish, at: Seconds) -> Hindrance | None:
        """Whether the tier's line is as long as it may be, in seconds or in requests."""
        waiting = self.line.units(wish.tier)
        too_long = self._wait_is_bearable(rule, wish, at, waiting)
        if too_long is not None or self.line.count(wish.tier) < min(rule.queue, self._hard_queue):
            return too_long
        backlog = self.rates.backlog_wait(rule, wish.units, at, waiting)
        return Hindrance(Reason.QUEUE_FULL, max(self._gpu_wait(rule, waiting, at), backlog))

    def _another_gives_way(self, wish: Wish) -> bool:
        """Whether a user with more waiting lost the newest of them, so that this one finds a place."""
        ticket = self.line.of(wish.tier).newest_of_heaviest(wish.user)
        if ticket is None:
            return False
        self.line.leave(ticket)
        self._gave_way.append(ticket)
        return True

    def _wait(self, rule: TierLimit, wish: Wish, at: Seconds) -> Ticket:
        if rule.state is TierState.REJECT:
            self.rates.draw(rule, wish.units, wish.user, at)  # it is within the rate and waits for a GPU only
        return self._push(wish, at, rated=rule.state is TierState.REJECT or not binds(rule))

    def _push(self, wish: Wish, at: Seconds, *, rated: bool) -> Ticket:
        ticket = Ticket(wish.tier, wish.units, at, rated, wish.user)
        self.line.push(ticket)
        self._order = sorted(self.line.tiers(), key=self._priority, reverse=True)
        return ticket

    def _enters_now(self, rule: TierLimit, wish: Wish, at: Seconds, *, rated: bool) -> bool:
        if not self._free() or self.line.count(wish.tier) or self._tier_is_full(rule, wish.tier):
            return False
        return rated or self.rates.wait(rule, wish.units, wish.user, at) <= 0

    def _start(self, wish: Wish, at: Seconds, *, rated: bool) -> Slot:
        if not rated:
            self.rates.draw(self.standing.rule(wish.tier), wish.units, wish.user, at)
        slot = Slot(self.tally.tier(wish.tier), wish.units, at)
        slot.counts.inside += 1
        self.meter.start(wish.units, at)
        self.slots[slot] = None
        return slot

    def _may_go(self, ticket: Ticket, at: Seconds) -> bool:
        full = self._tier_is_full(self.standing.rule(ticket.tier), ticket.tier)
        return not full and self._rate_wait(ticket, at) <= 0

    def _rate_wait(self, ticket: Ticket, at: Seconds) -> Seconds:
        if ticket.rated or self.standing.observing:
            return Seconds(0.0)
        return self.rates.wait(self.standing.rule(ticket.tier), ticket.units, ticket.user, at)

    def _tier_is_full(self, rule: TierLimit, tier: TierName) -> bool:
        if self.standing.observing or rule.concurrency is None:
            return False
        return self.tally.tier(tier).inside >= rule.concurrency

    def _free(self) -> bool:
        return self.meter.in_flight < self.meter.room

    def _gpu_wait(self, rule: TierLimit, ahead: Units, at: Seconds) -> Seconds:
        """Seconds until a GPU comes free behind `ahead` units of this tier.

        What is as important goes first, less the floors of what is not; half of what runs is done.
        """
        drain = self.meter.drain_rate_at(at)
        if drain is None or self._free():
            return Seconds(0.0)
        others = [tier for tier in self._order if tier != rule.name and self._priority(tier) >= rule.priority]
        before = ahead + sum(self.line.units(tier) for tier in others)
        running = (self.meter.units_in_flight / 2 + self.meter.others_units) / drain
        left = self.floors.left_by(tier for tier in self._order if self._priority(tier) < rule.priority)
        by_floor = self.floors.wait(TierName(rule.name), ahead, drain)
        return Seconds(running + min(before / drain / left, by_floor))

    def _lane_of(self, rule: TierLimit) -> Lane:
        tier = TierName(rule.name)
        rate, maximum = self.rates.buckets(rule)
        return lane_of(rule, self.standing, Lasting(self.tally.tier(tier), self.line.waiting(tier), rate, maximum))

    def _priority(self, tier: TierName) -> int:
        return self.standing.rule(tier).priority
