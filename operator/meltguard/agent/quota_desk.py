"""Asks the shared store for a user's allowance, and bears it when the store is away.

A reservation is settled behind the request's back; what the store could not be told is told again until it answers.
While it is away nothing is asked and every claim is refused: an allowance that cannot be counted is not granted.
"""

import asyncio
import uuid
from collections import Counter
from dataclasses import replace
from typing import Final

from meltguard.agent.calendar import Calendar
from meltguard.agent.news import News
from meltguard.agent.quota_allowance import Allowance
from meltguard.agent.quota_asks import Denial, QuotaAsk, Reservation
from meltguard.agent.quota_health import StoreHealth
from meltguard.agent.quota_known import KnownAccounts, Standing, verdict
from meltguard.agent.quota_ledger import QuotaLedger
from meltguard.agent.quota_settling import Settling
from meltguard.agent.quota_store import (
    AccountKey,
    Ending,
    Outcome,
    QuotaStore,
    Reserved,
    Settlement,
    SpanClaim,
    SpanSeen,
    StoreTrouble,
    hashed,
)
from meltguard.agent.quota_told import ToldStore
from meltguard.agent.refusal import EXHAUSTED_BY, Reason
from meltguard.agent.statefile import DayText, StateFile
from meltguard.api.limit_document import QuotaRule
from meltguard.api.store_state import StoreState
from meltguard.core.quota import Claim, Span, WhenUncounted
from meltguard.core.units import Instant, Seconds
from meltguard.ports import Clock

DUPLICATES: Final = frozenset({Outcome.IN_PROGRESS, Outcome.DELIVERED})
ANSWERED_BY: Final = ("store", "known", "nobody")
SOON: Final = Seconds(1.0)


class QuotaDesk:
    """One agent's dealings with the store."""

    def __init__(self, policy: str, store: QuotaStore | None, clock: Clock, state: StateFile, news: News) -> None:
        self._policy, self._store, self._clock, self._state = policy, store, clock, state
        self._seen = {book: SpanSeen(id=span.id, end=Instant(span.end)) for book, span in state.days.items()}
        self._known, self._calendar = KnownAccounts(), Calendar()
        self.told = ToldStore()
        self.health = StoreHealth(news, exists=store is not None)
        self.answers: Counter[str] = Counter()  # claims by who decided them: the store, or what is known
        self._settling = Settling(QuotaLedger(None if store is None else state.reservations), self.told)

    @property
    def down(self) -> bool:
        """Whether claims are refused without asking."""
        return self.health.refusing

    @property
    def nothing_to_tell(self) -> bool:
        """Whether the store knows all that was settled."""
        return self._settling.nothing_to_tell

    @property
    def store_state(self) -> StoreState:
        """How the store stands."""
        return self.health.state(self._clock.elapsed())

    async def reserve(self, ask: QuotaAsk) -> Reservation | Denial:
        """Set a request's images aside, or say why not. Where nobody can count, the tier's rule says what holds."""
        account = AccountKey(policy=self._policy, tier=ask.tier, user=hashed(ask.user), period=ask.rule.per)
        keyed = hashed(ask.user, ask.key) if ask.key is not None else None
        if (known := self._what_is_known(ask, account, keyed)) is not None:
            self.answers["known"] += 1
            return known
        attempt = uuid.uuid4().hex
        claim = Claim(
            request=keyed or attempt,
            images=ask.images,
            limit=ask.rule.images,
            hold_for=ask.hold_for,
            attempt=attempt if keyed else "",
        )
        outcome = await self._asked(ask, account, claim)
        admits = ask.rule.when_uncounted is WhenUncounted.ADMIT
        if isinstance(outcome, Denial) and outcome.reason is Reason.QUOTA_STORE and admits:
            outcome = self._uncounted(account, claim)
        if isinstance(outcome, Reservation):
            self._settling.made(outcome.settlement)
        return outcome

    async def _asked(self, ask: QuotaAsk, account: AccountKey, claim: Claim) -> Reservation | Denial:
        """What the store says."""
        if self._store is None or self.down:
            return Denial(reason=Reason.QUOTA_STORE)
        if not self.told.is_caught_up(account.book):
            return Denial(reason=Reason.QUOTA_STORE, wait=SOON)
        try:
            answer = await self._claim(self._store, account, claim, ask.rule)
        except asyncio.CancelledError:
            self._release_perhaps(account, claim)
            raise
        except StoreTrouble as exc:
            self._failed(exc)
            self._release_perhaps(account, claim)
            return Denial(reason=Reason.QUOTA_STORE, wait=exc.retry_after)
        self.answers["store"] += 1
        outcome = self._reading(ask, account, claim, answer)
        self.health.answered(self._clock.elapsed())
        return outcome

    def _uncounted(self, account: AccountKey, claim: Claim) -> Reservation:
        """Admitted all the same; what is delivered is told to the store when it answers, if its span is known."""
        self.answers["nobody"] += 1
        seen = self._seen.get(account.book)
        return Reservation(settlement=_release_of(account, claim, seen.id if seen is not None else ""), allowance=None)

    def delivers(self, reservation: Reservation, images: int | None = None) -> None:
        """So many images, or all, begin to be delivered: they are spent even if this process ends now."""
        self._settling.delivers(reservation.settlement, images)

    def commit(self, reservation: Reservation, images: int | None = None) -> None:
        """Images were delivered: so many, or all. The rest is given back; what is made beyond it is spent too."""
        given = reservation.settlement
        settlement = self._settling.delivers(given, images)
        if settlement.images < given.images or settlement.ending is Ending.RELEASE:
            self._known.forget((given.account.book, given.account.user))
            self._settling.hurry()
        self._settling.add(settlement)

    def release(self, reservation: Reservation) -> None:
        """The images were not delivered and cost nothing."""
        self.commit(reservation, images=0)

    async def run(self, probe_every: Seconds) -> None:
        """Settle, and while the store is down ask whether it is back. Ends when cancelled."""
        task = asyncio.current_task()
        while self._store is not None and not (task and task.cancelling()):  # the client may swallow a cancellation
            if self._settling.nothing_to_tell and not self.health.failures:
                await self._settling.some()
            await self._settling.gathered()
            try:
                await self._settling.tell_some(self._store)
                await self._look_again(self._store)
            except StoreTrouble as exc:
                self._failed(exc)
                await asyncio.sleep(probe_every)

    async def finish(self, within: Seconds) -> None:
        """At the end, settle what is left if the store takes it."""
        if self._store is not None:
            await self._settling.finish(self._store, within)

    def close(self) -> None:
        """Let the next agent of this pod have what is left."""
        self._settling.close()

    def _what_is_known(self, ask: QuotaAsk, account: AccountKey, keyed: str | None) -> Denial | None:
        """The store's answer, where it is known without asking."""
        at = self._clock.elapsed()
        if (known := self._known.standing((account.book, account.user), at)) is None:
            return None
        if (outcome := verdict(known, ask.images, ask.rule.images, at, keyed)) is None:
            return None
        left = Seconds(known.resets_at - at)
        return self._denial(ask, outcome, _allowance(ask.rule, known.used, left, known.window))

    async def _claim(self, store: QuotaStore, account: AccountKey, claim: Claim, rule: QuotaRule) -> Reserved:
        """Ask with the span as our clock has it, and once more as the store's clock has it."""
        seen = self._seen.get(account.book)
        asked = SpanClaim(
            account=account,
            claim=claim,
            span=self._span(self._clock.now(), rule),
            new_id=uuid.uuid4().hex,
            seen=seen,
            writes=self.told.writes(account.book, seen.id) if seen is not None else 0,
        )
        answer = await store.reserve(asked)
        if answer.outcome is not Outcome.WRONG_SPAN:
            return answer
        return await store.reserve(replace(asked, span=self._span(answer.now, rule)))

    def _span(self, at: Instant, rule: QuotaRule) -> Span:
        span = self._calendar.span(at, rule.time_zone, rule.per)
        if span is None:
            raise StoreTrouble(f"no zone {rule.time_zone!r} on this machine: install tzdata", StoreState.FAULTY)
        return span

    def _reading(self, ask: QuotaAsk, account: AccountKey, claim: Claim, answer: Reserved) -> Reservation | Denial:
        if answer.span is None:
            return Denial(reason=Reason.QUOTA_STORE)
        self._remember(account.book, answer.span, answer.now)
        if answer.outcome is Outcome.BEHIND:
            return self._tell_again(account, answer.span.id, answer.writes)
        self.told.heard(account.book, answer.span.id, answer.writes)
        at, left = self._clock.elapsed(), Seconds(answer.span.end - answer.now)
        if answer.outcome is Outcome.LOST:
            self.health.forgot(account.book, Seconds(at + left))
            return Denial(reason=Reason.QUOTA_STORE, reset=Instant(self._clock.now() + left))
        self.health.remembers(account.book)
        window = self._span(Instant(answer.span.end - 1.0), ask.rule).length  # however late in it the store began
        allowance = _allowance(ask.rule, answer.used, left, window)
        if answer.outcome is Outcome.GRANTED:
            return Reservation(settlement=_release_of(account, claim, answer.span.id), allowance=allowance)
        if answer.outcome is Outcome.EXHAUSTED:
            self._learn(account, answer, allowance, at)
        return self._denial(ask, answer.outcome, allowance)

    def _tell_again(self, account: AccountKey, span: str, writes: int) -> Denial:
        """The store fell back: tell it what it lost, and grant nothing until then."""
        for settlement in self.told.behind(account, span, writes):
            self._settling.add(settlement)
        self._settling.hurry()
        return Denial(reason=Reason.QUOTA_STORE, wait=SOON)

    def _denial(self, ask: QuotaAsk, outcome: Outcome, allowance: Allowance) -> Denial:
        if outcome in DUPLICATES:
            return Denial(reason=Reason.DUPLICATE, wait=SOON)
        reset = Instant(self._clock.now() + allowance.resets_in)
        return Denial(reason=EXHAUSTED_BY[ask.rule.per], reset=reset, allowance=allowance)

    def _learn(self, account: AccountKey, answer: Reserved, allowance: Allowance, at: Seconds) -> None:
        known = Standing(
            used=answer.used,
            spent=answer.used - answer.held,
            at=at,
            resets_at=Seconds(at + allowance.resets_in),
            window=allowance.window,
            requests=answer.requests,
        )
        self._known.learn((account.book, account.user), known)

    def _remember(self, book: str, span: SpanSeen, now: Instant) -> None:
        """Keep the first span seen until it ends: a later id for the same span is a store that lost it."""
        seen = self._seen.get(book)
        if seen is None or seen.end <= now:
            self._seen[book] = span
            self._state.remember_day(book, DayText(id=span.id, end=span.end))

    def _release_perhaps(self, account: AccountKey, claim: Claim) -> None:
        """An unanswered claim may have been granted; give it back, if the span is known."""
        if (seen := self._seen.get(account.book)) is not None:
            self._settling.add(_release_of(account, claim, seen.id))

    async def _look_again(self, store: QuotaStore) -> None:
        if self.health.failures:  # a full store settles, and yet reserves nothing
            await store.probe(self._policy)
            await self.told.tell_anew(store)
        self.health.answered(self._clock.elapsed())

    def _failed(self, exc: StoreTrouble) -> None:
        self.health.failed_with(exc, self._clock.elapsed())
        self._settling.stir()


def _allowance(rule: QuotaRule, used: int, left: Seconds, window: Seconds) -> Allowance:
    return Allowance(limit=rule.images, used=used, resets_in=left, window=window, period=rule.per)


def _release_of(account: AccountKey, claim: Claim, span: str) -> Settlement:
    return Settlement(
        account=account,
        span=span,
        request=claim.request,
        images=claim.images,
        ending=Ending.RELEASE,
        attempt=claim.attempt,
    )
