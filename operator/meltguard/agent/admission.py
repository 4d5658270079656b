"""Takes each request through quota, gate and waiting line, and back out again."""

import asyncio
import math
from dataclasses import dataclass
from typing import Final

from meltguard.agent.clients import Clients
from meltguard.agent.documents import Documents
from meltguard.agent.gate import Gate, Hindrance, Placed
from meltguard.agent.lane import Holder, Slot
from meltguard.agent.lost_slots import LostSlots
from meltguard.agent.news import News, OverloadWatch
from meltguard.agent.quota_asks import Denial, QuotaAsk
from meltguard.agent.quota_desk import QuotaDesk
from meltguard.agent.records import Records
from meltguard.agent.refusal import Reason, Refusal
from meltguard.agent.refusing import refusal_of
from meltguard.agent.settings import AgentSettings
from meltguard.agent.standing import Standing
from meltguard.agent.telling import Telling
from meltguard.agent.turns import Outlook, Ticket
from meltguard.agent.visit import Ask, Result, Visit, Waiter
from meltguard.core.features import fading, has_feature
from meltguard.core.units import Percent, Seconds
from meltguard.ports import Clock

HOLD_MARGIN: Final = Seconds(60.0)  # a reservation outlives the longest request by this
STOPPING: Final = Hindrance(Reason.STOPPING, Seconds(1.0))
FOREVER: Final = Seconds(math.inf)
NOW: Final = Seconds(-math.inf)
Turn = Slot | Hindrance


@dataclass(frozen=True, slots=True)
class Desks:
    """Whom an admission asks."""

    documents: Documents
    quota: QuotaDesk
    news: News


class Admission:
    """The decision on each request at one pod."""

    def __init__(self, settings: AgentSettings, clock: Clock, desks: Desks) -> None:
        self._settings, self._clock = settings, clock
        self._elapsed = clock.elapsed
        self._stopping = False
        self._documents, self._quota, self._news = desks.documents, desks.quota, desks.news
        at = clock.elapsed()
        self._obey(self._documents.standing(at))
        self.gate = Gate(settings.gpus, settings.pace.hard_queue, self.standing, at)
        self.telling = Telling(settings, clock, self.gate)
        self.records = Records(settings, clock, self.gate.tally)
        self.records.begin(self.standing)
        self._overload = OverloadWatch(self._news, settings.pace.overload_wait)
        self.lost_slots = LostSlots()
        self.clients = Clients(settings.client_bytes)
        self._turns: dict[Ticket, asyncio.Future[Turn]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def refresh(self) -> None:
        """Look again which document holds and who is there, and turn away or let in whom that concerns."""
        at = self._clock.elapsed()
        before = self.standing
        self._obey(self._documents.standing(at))
        if not self.standing.same_document(before):
            self._news.tell()
        self.records.begin(self.standing)
        for ticket in self.gate.obey(self.standing, at):
            _settle(self._turns.pop(ticket), Hindrance(Reason.TIER_SUSPENDED))
        self.lost_slots.take_back(self.gate, at)
        self._advance()

    def enter_at_once(self, ask: Ask, holder: Holder) -> Visit | None:
        """Let a request in that nothing stands against and that no store is asked about; else `admit` it.

        The same decision in one look, without waiting for anything. Nearly all requests enter this way.
        """
        at = self._elapsed()
        if at >= self._look_again and not self._goes_on():
            return None
        if ask.feature in self._fading and _goes_without(ask, self.standing):
            return None
        gate, units = self.gate, ask.cost.units
        lane = gate.lanes.get(ask.tier, gate.fallback)
        visit = Visit(lane.counts, units, at, ask, lane, at)
        if not gate.enter_at_once(lane, visit, ask.user or ask.address, holder):
            return None
        lane.counts.enter_at_once(units, at)
        if ask.key is not None:
            self.records.entered_at_once(visit)
        return visit

    async def admit(self, ask: Ask, waiter: Waiter) -> Visit | Refusal:
        """Wait for a request's turn. A visit must be finished, whatever happens to it."""
        task = asyncio.current_task()
        if task is not None and (at_once := self.enter_at_once(ask, task)) is not None:
            return at_once
        visit = self._begin(ask)
        hindrance = STOPPING if self._stopping else self._before_quota(visit)
        if hindrance is not None:
            return self._refuse(visit, hindrance)
        if (denial := await self._reserve(visit)) is not None:
            return self._refuse(visit, Hindrance(denial.reason, denial.wait), denial)
        try:
            turn = await self._turn(visit, waiter)
        except asyncio.CancelledError:
            self._give_back(visit)
            raise
        if isinstance(turn, Hindrance):
            return self._refuse(visit, turn)
        self.gate.hand_over(turn, visit, task)
        self.records.admitted(visit, self._clock.elapsed())
        return visit

    def hand_over(self, visit: Visit, holder: Holder) -> None:
        """Another than who asked gives an admitted request's slot back."""
        self.gate.hand_over(visit, visit, holder)

    def delivers(self, visit: Visit, images: int | None) -> None:
        """An admitted request's images, so many or all asked for, begin to go to the client now."""
        if visit.reservation is not None:
            self._quota.delivers(visit.reservation, images)

    def finish(self, visit: Visit, result: Result) -> None:
        """An admitted request has left the GPU."""
        at = self._elapsed()
        if not self.gate.finish(visit, at):
            return
        if result.finished:
            self.gate.meter.done(visit.units, visit.since, at)
        if visit.reservation is not None:
            if result.delivered:
                self._quota.commit(visit.reservation, result.images)
            else:
                self._quota.release(visit.reservation)
        if self.records.journal is not None:
            self.records.ended(visit, result, Seconds(at - visit.since))
        if self._turns or not self._overload.calm:
            self._advance()  # else there is nobody to let in, and nothing to tell

    def outlook(self, ticket: Ticket) -> Outlook | None:
        """What a waiting request may expect; None where it does not wait any more."""
        return self.gate.outlook(ticket, self._clock.elapsed())

    def stop(self) -> None:
        """Refuse whoever waits or comes from now on; what is in the GPU goes on."""
        self._stopping, self._look_again = True, NOW
        for ticket, turn in list(self._turns.items()):
            self._turn_away(ticket, turn, STOPPING)
        if self._timer is not None:
            self._timer.cancel()

    def _obey(self, standing: Standing) -> None:
        self.standing, self._fading = standing, fading(standing.features)
        self._look_again = NOW if self._stopping else FOREVER if standing.until is None else standing.until

    def _begin(self, ask: Ask) -> Visit:
        at = self._elapsed()
        if at >= self._look_again:
            self._goes_on()
        lane = self.gate.lanes.get(ask.tier, self.gate.fallback)
        visit = Visit(lane.counts, ask.cost.units, at, ask, lane, at)
        self.records.came(visit)
        return visit

    def _goes_on(self) -> bool:
        """Whether requests are let in at all; a lease ends on time even if the ticking task was held up."""
        if not self._stopping:
            self.refresh()
        return not self._stopping

    def _before_quota(self, visit: Visit) -> Hindrance | None:
        if visit.standing.observing:
            return None
        if not visit.ask.cost.known and visit.rule.quota is not None:
            return Hindrance(Reason.COST_UNKNOWN)
        if _goes_without(visit.ask, visit.standing):
            return Hindrance(Reason.FEATURE_SLOWED)
        return self.gate.before_quota(visit.wish, visit.came)

    async def _reserve(self, visit: Visit) -> Denial | None:
        rule = visit.rule
        if rule.quota is None or visit.standing.observing:
            return None
        ask = QuotaAsk(
            tier=rule.name,
            user=visit.ask.user,
            key=visit.ask.key,
            images=visit.images,
            rule=rule.quota,
            hold_for=Seconds(rule.max_wait + self._settings.pace.longest_image + HOLD_MARGIN),
        )
        outcome = await self._quota.reserve(ask)
        if isinstance(outcome, Denial):
            return outcome
        visit.reservation = outcome
        return None

    async def _turn(self, visit: Visit, waiter: Waiter) -> Turn:
        at = self._clock.elapsed()
        placed = self._place(visit, at)
        if not isinstance(placed, Ticket):
            return placed
        turn: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        self._turns[placed] = turn
        for ticket in self.gate.gave_way():
            _settle(self._turns.pop(ticket), Hindrance(Reason.GAVE_WAY, self.gate.predicted_wait(placed.since)))
        self._advance()
        end = self._bound_wait(visit, placed, turn)
        waiter.waits(placed)
        waiter.watch(lambda: self._turn_away(placed, turn, Hindrance(Reason.CLIENT_GONE)))
        try:
            return await turn
        except asyncio.CancelledError:
            self._abandon(placed, turn)
            raise
        finally:
            end.cancel()
            visit.waited = Seconds(self._clock.elapsed() - placed.since)

    def _place(self, visit: Visit, at: Seconds) -> Placed:
        placed = (
            Hindrance(Reason.FEATURE_SLOWED)
            if _goes_without(visit.ask, visit.standing)
            else self.gate.place(visit.wish, at)
        )
        if not self.standing.observing or not isinstance(placed, Hindrance):
            return placed
        self.records.would_refuse(visit, placed.reason)
        return self.gate.place_freely(visit.wish, at)

    def _bound_wait(self, visit: Visit, ticket: Ticket, turn: asyncio.Future[Turn]) -> asyncio.TimerHandle:
        limit = self._settings.pace.longest_image if visit.standing.observing else visit.rule.max_wait
        return asyncio.get_running_loop().call_later(limit, self._wait_out, ticket, turn)

    def _wait_out(self, ticket: Ticket, turn: asyncio.Future[Turn]) -> None:
        """End a wait that is as long as it may be; when to come again is judged by what waits now."""
        wait = self.gate.predicted_wait(self._clock.elapsed())
        self._turn_away(ticket, turn, Hindrance(Reason.WAITED_OUT, wait))

    def _turn_away(self, ticket: Ticket, turn: asyncio.Future[Turn], outcome: Hindrance) -> None:
        """End a wait without a slot, unless the slot came first."""
        if self.gate.leave(ticket):
            self._turns.pop(ticket, None)
            _settle(turn, outcome)
            self._advance()  # the next in line may be smaller

    def _abandon(self, ticket: Ticket, turn: asyncio.Future[Turn]) -> None:
        """The waiting task was cancelled: give up the place, or the slot that came in the same moment."""
        self._turns.pop(ticket, None)
        self.gate.leave(ticket)
        if not turn.cancelled() and turn.done() and isinstance(slot := turn.result(), Slot):
            self.gate.finish(slot, self._clock.elapsed())
        self._advance()

    def _advance(self) -> None:
        """Let in whoever may enter, and come back when a bucket lets the next one in."""
        at = self._clock.elapsed()
        if not self._stopping:
            for ticket, slot in self.gate.advance(at):
                if not _settle(self._turns.pop(ticket), slot):
                    self.gate.finish(slot, at)
        self.telling.load.see(self.gate.line.all_units, at)
        self._overload.see(len(self.gate.line), self.gate.predicted_wait(at), at)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self.gate.next_turn(at)
        if wait is not None and not self._stopping:
            self._timer = asyncio.get_running_loop().call_later(wait, self._advance)

    def _give_back(self, visit: Visit) -> None:
        if visit.reservation is not None:
            self._quota.release(visit.reservation)

    def _refuse(self, visit: Visit, hindrance: Hindrance, denial: Denial | None = None) -> Refusal:
        self._give_back(visit)
        told = self.telling.of_refusal(visit.rule, denial.allowance if denial is not None else None)
        refusal = refusal_of(visit, hindrance, denial, told)
        self.records.refused(visit, hindrance.reason, refusal.status)
        return refusal


def _goes_without(ask: Ask, standing: Standing) -> bool:
    """Whether a request uses a feature that its user does not have now."""
    share = standing.features.get(ask.feature)
    return share is not None and not has_feature(ask.feature, ask.caller, Percent(share))


def _settle(turn: asyncio.Future[Turn], outcome: Turn) -> bool:
    """Tell the waiting task; False where it was cancelled in this very moment."""
    if turn.done():
        return False
    turn.set_result(outcome)
    return True
