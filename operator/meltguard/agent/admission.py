"""Takes each request through quota, gate and waiting line, and back out again."""

import asyncio
import random
from dataclasses import dataclass
from typing import Final

from meltguard.agent.asgi import Answer, Header
from meltguard.agent.documents import Documents
from meltguard.agent.fields import Allotment, allotments, of_allowance, openai_fields, rate_limit_fields, spent_for
from meltguard.agent.gate import Gate, Hindrance, Placed, Slot
from meltguard.agent.load import LoadMeter
from meltguard.agent.lost_slots import LostSlots
from meltguard.agent.news import News, OverloadWatch
from meltguard.agent.quota_allowance import Allowance
from meltguard.agent.quota_desk import Denial, QuotaAsk, QuotaDesk
from meltguard.agent.records import Records
from meltguard.agent.refusal import Reason, Refusal, answer
from meltguard.agent.refusing import Told, refusal_of
from meltguard.agent.settings import AgentSettings
from meltguard.agent.turns import Outlook, Ticket
from meltguard.agent.visit import Ask, Result, Visit, Waiter
from meltguard.api.limit_document import TierLimit
from meltguard.core.features import has_feature
from meltguard.core.units import Percent, Seconds, Share, TierName
from meltguard.ports import Clock

HOLD_MARGIN: Final = Seconds(60.0)  # a reservation outlives the longest request by this
STOPPING: Final = Hindrance(Reason.STOPPING, Seconds(1.0))
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
        self._documents, self._quota, self._news = desks.documents, desks.quota, desks.news
        at = clock.elapsed()
        self.standing = self._documents.standing(at)
        self.gate = Gate(settings.gpus, settings.pace.hard_queue, self.standing, at)
        self.load = LoadMeter(self.gate.meter, at)
        self.records = Records(settings, clock)
        self.records.begin(self.standing)
        self._overload = OverloadWatch(self._news, settings.pace.overload_wait)
        self.lost_slots = LostSlots()
        self._turns: dict[Ticket, asyncio.Future[Turn]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._luck = random.Random()  # noqa: S311 - spreads retries, keeps no secret

    def refresh(self) -> None:
        """Look again which document holds and who is there, and turn away or let in whom that concerns."""
        at = self._clock.elapsed()
        before, self.standing = self.standing, self._documents.standing(at)
        if not self.standing.same_document(before):
            self._news.tell()
        self.records.begin(self.standing)
        for ticket in self.gate.obey(self.standing, at):
            _settle(self._turns.pop(ticket), Hindrance(Reason.TIER_SUSPENDED))
        self.lost_slots.take_back(self.gate, at)
        self._advance()

    async def admit(self, ask: Ask, waiter: Waiter) -> Visit | Refusal:
        """Wait for a request's turn. A visit must be finished, whatever happens to it."""
        visit = self._begin(ask)
        if self._entered_at_once(visit):
            return visit
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
        visit.slot = turn
        self.gate.slots[turn] = asyncio.current_task()
        self.records.admitted(visit, self._clock.elapsed())
        return visit

    def finish(self, visit: Visit, result: Result) -> None:
        """An admitted request has left the GPU."""
        slot, at = visit.slot, self._clock.elapsed()
        if slot not in self.gate.slots:
            return
        took = Seconds(at - slot.since)
        self.gate.finish(slot, at)
        if result.finished:
            self.gate.meter.done(slot.units, took)
        if visit.reservation is not None:
            if result.delivered:
                self._quota.commit(visit.reservation, result.images)
            else:
                self._quota.release(visit.reservation)
        self.records.ended(visit, result, took)
        if self._turns or not self._overload.calm:
            self._advance()  # else there is nobody to let in, and nothing to tell

    def answer(self, refusal: Refusal) -> Answer:
        """What to tell a refused client."""
        return answer(refusal, self._clock.now(), Share(self._luck.random()))

    def fields(self, rule: TierLimit, allowance: Allowance | None) -> dict[str, str]:
        """The header fields that tell a client what its tier and its user may still have."""
        found = self._allotments(rule)
        if allowance is not None:
            found.append(of_allowance(allowance))
        if not found:
            return {}
        also = openai_fields(found) if self._settings.callers.openai_fields else {}
        return {**rate_limit_fields(found), **also}

    def _allotments(self, rule: TierLimit) -> list[Allotment]:
        return [] if self.standing.observing else allotments(self.gate.rates, rule, self._clock.elapsed())

    def outlook(self, ticket: Ticket) -> Outlook | None:
        """What a waiting request may expect; None where it does not wait any more."""
        return self.gate.outlook(ticket, self._clock.elapsed())

    def load_headers(self) -> list[Header]:
        """What every answer says of this pod's load."""
        return self.load.headers(self.standing.heat, self._clock.elapsed())

    def load_json(self) -> bytes:
        """The same for a reader of the control port."""
        return self.load.as_json(self.standing.heat, self._clock.elapsed())

    def stop(self) -> None:
        """Refuse whoever waits or comes from now on; what is in the GPU goes on."""
        self._stopping = True
        for ticket, turn in list(self._turns.items()):
            self._turn_away(ticket, turn, STOPPING)
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, ask: Ask) -> Visit:
        at = self._clock.elapsed()
        if self.standing.until is not None and at >= self.standing.until:
            self.refresh()  # a lease ends on time even if the ticking task was held up
        standing = self.standing
        rule = standing.tiers.get(ask.tier, standing.fallback)
        tier = TierName(rule.name)
        visit = Visit(
            ask=ask,
            standing=standing,
            rule=rule,
            tier=tier,
            units=ask.cost.units,
            counts=self.records.tally.tiers[tier],
            since=at,
        )
        self.records.came(visit)
        return visit

    def _entered_at_once(self, visit: Visit) -> bool:
        """Whether a request passed that nothing stands against and that no store is asked about."""
        if visit.rule.quota is not None or self._stopping or (visit.ask.feature and self._goes_without(visit)):
            return False
        visit.slot = self.gate.enter_at_once(visit.tier, visit.units, visit.since)
        if visit.slot is None:
            return False
        self.gate.slots[visit.slot] = asyncio.current_task()
        self.records.admitted(visit, visit.since)
        return True

    def _before_quota(self, visit: Visit) -> Hindrance | None:
        if visit.standing.observing:
            return None
        if not visit.ask.cost.known and visit.rule.quota is not None:
            return Hindrance(Reason.COST_UNKNOWN)
        if self._goes_without(visit):
            return Hindrance(Reason.FEATURE_SLOWED)
        return self.gate.before_quota(visit.wish, visit.since)

    def _goes_without(self, visit: Visit) -> bool:
        """Whether the request uses a feature that its user does not have now."""
        feature = visit.ask.feature
        share = visit.standing.features.get(feature)
        return share is not None and not has_feature(feature, visit.ask.caller, Percent(share))

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
        placed = Hindrance(Reason.FEATURE_SLOWED) if self._goes_without(visit) else self.gate.place(visit.wish, at)
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
        self.load.see(self.gate.line.all_units, at)
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
        found = self._allotments(visit.rule)
        headers = self.fields(visit.rule, denial.allowance if denial is not None else None)
        refusal = refusal_of(visit, hindrance, denial, Told(headers, spent_for(found)))
        self.records.refused(visit, hindrance.reason, refusal.status)
        return refusal


def _settle(turn: asyncio.Future[Turn], outcome: Turn) -> bool:
    """Tell the waiting task; False where it was cancelled in this very moment."""
    if turn.done():
        return False
    turn.set_result(outcome)
    return True
