"""Asks the shared store for a user's daily allowance, and bears it when the store is away.

A reservation is settled behind the request's back; what the store could not be told is told again until it answers.
While it is away nothing is asked and every claim is refused: an allowance that cannot be counted is not granted.
"""

import asyncio
import contextlib
import logging
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Final

from meltguard.agent.calendar import zone_offset
from meltguard.agent.news import News
from meltguard.agent.quota_store import (
    AccountKey,
    DayClaim,
    DaySeen,
    Ending,
    Outcome,
    QuotaStore,
    Reserved,
    Settlement,
    hashed,
)
from meltguard.agent.refusal import Reason
from meltguard.agent.statefile import DayText, StateFile
from meltguard.api.limit_document import QuotaRule
from meltguard.core.quota import Claim, day_of
from meltguard.core.units import Instant, Seconds
from meltguard.errors import Unavailable
from meltguard.ports import Clock

log = logging.getLogger(__name__)

FAILURES_BORNE: Final = 3  # in a row, before the store counts as down
MOST_UNSETTLED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaAsk:
    """One request's claim on its user's day."""

    tier: str
    user: str
    key: str | None  # idempotency key
    images: int
    rule: QuotaRule
    hold_for: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a user's day has left, on the store's clock."""

    limit: int
    used: int
    resets_in: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Images set aside; settle it when the request has ended."""

    settlement: Settlement  # a release; a commit is the same with another ending
    allowance: Allowance


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """No images."""

    reason: Reason
    wait: Seconds | None = None
    reset: Instant | None = None
    allowance: Allowance | None = None


DENIALS: Final = {
    Outcome.EXHAUSTED: Reason.DAILY_QUOTA,
    Outcome.IN_PROGRESS: Reason.DUPLICATE,
    Outcome.DELIVERED: Reason.DUPLICATE,
    Outcome.LOST: Reason.QUOTA_STORE,
    Outcome.WRONG_DAY: Reason.QUOTA_STORE,
}


class QuotaDesk:
    """One agent's dealings with the store."""

    def __init__(self, policy: str, store: QuotaStore | None, clock: Clock, state: StateFile, news: News) -> None:
        self._policy, self._store, self._clock, self._state, self._news = policy, store, clock, state, news
        self._seen = {tier: DaySeen(id=day.id, end=Instant(day.end)) for tier, day in state.days.items()}
        self._unsettled: deque[Settlement] = deque(maxlen=MOST_UNSETTLED)
        self._work = asyncio.Event()
        self._failures = 0

    @property
    def down(self) -> bool:
        """Whether claims are refused without asking."""
        return self._store is None or self._failures >= FAILURES_BORNE

    async def reserve(self, ask: QuotaAsk) -> Reservation | Denial:
        """Set a request's images aside, or say why not."""
        if self._store is None or self.down:
            return Denial(reason=Reason.QUOTA_STORE)
        account = AccountKey(policy=self._policy, tier=ask.tier, user=hashed(ask.user))
        request = hashed(ask.user, ask.key) if ask.key is not None else uuid.uuid4().hex
        claim = Claim(request=request, images=ask.images, limit=ask.rule.images, hold_for=ask.hold_for)
        try:
            answer = await self._claim(self._store, account, claim, ask.rule.time_zone)
        except Unavailable as exc:
            self._failed(exc)
            self._release_perhaps(account, claim)
            return Denial(reason=Reason.QUOTA_STORE, wait=exc.retry_after)
        self._answered()
        return self._reading(ask, account, claim, answer)

    def commit(self, reservation: Reservation) -> None:
        """The images were delivered."""
        given = reservation.settlement
        self._settle(
            Settlement(
                account=given.account, day=given.day, request=given.request, images=given.images, ending=Ending.COMMIT
            )
        )

    def release(self, reservation: Reservation) -> None:
        """The images were not delivered and cost nothing."""
        self._settle(reservation.settlement)

    async def run(self, probe_every: Seconds) -> None:
        """Settle, and while the store is down ask whether it is back. Ends when cancelled."""
        while self._store is not None:
            if not self._unsettled and not self._failures:
                self._work.clear()
                await self._work.wait()
            try:
                await self._catch_up(self._store)
            except Unavailable as exc:
                self._failed(exc)
                await asyncio.sleep(probe_every)

    async def finish(self, within: Seconds) -> None:
        """At the end, settle what is left if the store takes it; what is not is forgotten there in time."""
        if self._store is not None and self._unsettled:
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(within):
                    await self._catch_up(self._store)

    async def _claim(self, store: QuotaStore, account: AccountKey, claim: Claim, zone: str) -> Reserved:
        """Ask with the day as our clock has it, and once more as the store's clock has it."""
        offset = zone_offset(zone)
        if offset is None:
            raise Unavailable(f"no zone {zone!r} on this machine: install tzdata")
        new_id, seen = uuid.uuid4().hex, self._seen.get(account.tier)
        day = day_of(self._clock.now(), offset)
        answer = await store.reserve(DayClaim(account=account, claim=claim, day=day, new_id=new_id, seen=seen))
        if answer.outcome is not Outcome.WRONG_DAY:
            return answer
        day = day_of(answer.now, offset)
        return await store.reserve(DayClaim(account=account, claim=claim, day=day, new_id=new_id, seen=seen))

    def _reading(self, ask: QuotaAsk, account: AccountKey, claim: Claim, answer: Reserved) -> Reservation | Denial:
        if answer.day is None:
            return Denial(reason=Reason.QUOTA_STORE)
        self._remember(ask.tier, answer.day, answer.now)
        left = Seconds(answer.day.end - answer.now)
        reset = Instant(self._clock.now() + left)
        allowance = Allowance(limit=ask.rule.images, used=answer.used, resets_in=left)
        if answer.outcome is Outcome.GRANTED:
            settlement = _release_of(account, claim, answer.day.id)
            return Reservation(settlement=settlement, allowance=allowance)
        reason = DENIALS[answer.outcome]
        if reason is Reason.DAILY_QUOTA:
            return Denial(reason=reason, reset=reset, allowance=allowance)
        if answer.outcome is Outcome.LOST:
            return Denial(reason=reason, reset=reset)
        return Denial(reason=reason, wait=Seconds(1.0))

    def _remember(self, tier: str, day: DaySeen, now: Instant) -> None:
        """Keep the first day seen until it ends: a later id for the same day is a store that lost it."""
        seen = self._seen.get(tier)
        if seen is None or seen.end <= now:
            self._seen[tier] = day
            self._state.remember_day(tier, DayText(id=day.id, end=day.end))

    def _release_perhaps(self, account: AccountKey, claim: Claim) -> None:
        """An unanswered claim may have been granted; give it back, if the day is known."""
        seen = self._seen.get(account.tier)
        if seen is not None:
            self._settle(_release_of(account, claim, seen.id))

    def _settle(self, settlement: Settlement) -> None:
        self._unsettled.append(settlement)
        self._work.set()

    async def _catch_up(self, store: QuotaStore) -> None:
        if self._failures:
            await store.ping()
        while self._unsettled:
            settlement = self._unsettled[0]
            await store.settle(settlement)
            if self._unsettled and self._unsettled[0] is settlement:
                self._unsettled.popleft()
        self._answered()

    def _answered(self) -> None:
        if self.down:
            log.info("quota store is back")
            self._news.tell()
        self._failures = 0

    def _failed(self, exc: Unavailable) -> None:
        self._failures += 1
        self._work.set()
        if self._failures == FAILURES_BORNE:
            log.warning("quota store is down: tiers with a daily quota are refused", extra={"error": str(exc)})
            self._news.tell()


def _release_of(account: AccountKey, claim: Claim, day: str) -> Settlement:
    return Settlement(account=account, day=day, request=claim.request, images=claim.images, ending=Ending.RELEASE)
