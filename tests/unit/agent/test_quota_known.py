"""What is refused without asking the store, and for how long."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.news import News
from meltguard.agent.quota_asks import Denial, QuotaAsk, Reservation
from meltguard.agent.quota_desk import QuotaDesk
from meltguard.agent.quota_known import HELD_KNOWN_FOR, SPENT_KNOWN_FOR, KnownAccounts, Standing
from meltguard.agent.quota_store import AccountKey, hashed
from meltguard.agent.refusal import Reason
from meltguard.agent.statefile import StateFile
from meltguard.api.limit_document import QuotaRule
from meltguard.core.quota import Account, Claim, Verdict, claim_images
from meltguard.core.units import Instant, Seconds
from support.agents import ManualClock
from support.memory_quota import MemoryQuotaStore

ANN = AccountKey(policy="serving/image-gen", tier="free", user=hashed("ann"))
THREE = QuotaRule(images=3)


class Two:
    """Two agents with one store."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryQuotaStore(self.clock)
        self.here, self.elsewhere = (
            QuotaDesk("serving/image-gen", self.store, self.clock, StateFile(None), News()) for _ in range(2)
        )

    async def ask(self, desk: QuotaDesk | None = None, **changes: Any) -> Reservation | Denial:
        """Ask for one image."""
        fields = {"tier": "free", "user": "ann", "key": None, "images": 1, "rule": THREE, **changes}
        return await (desk or self.here).reserve(QuotaAsk(hold_for=Seconds(900.0), **fields))

    async def have(self, desk: QuotaDesk | None = None, **changes: Any) -> None:
        """Have one image."""
        given = await self.ask(desk, **changes)
        assert isinstance(given, Reservation)
        (desk or self.here).commit(given)
        await (desk or self.here).finish(Seconds(1.0))

    async def refused_unasked(self, **changes: Any) -> Reason | None:
        """Why a request is refused without a call; None where the store was asked."""
        calls = self.store.calls
        outcome = await self.ask(**changes)
        return outcome.reason if isinstance(outcome, Denial) and self.store.calls == calls else None


async def all_spent(**changes: Any) -> Two:
    two = Two()
    for number in range(3):
        await two.have(two.elsewhere, key=f"k{number}")
    assert isinstance(await two.ask(**changes), Denial)
    return two


async def test_a_user_who_has_all_used_up_is_refused_without_asking_and_told_as_before() -> None:
    two = await all_spent()
    told = await two.ask()
    assert [await two.refused_unasked() for _ in range(50)] == [Reason.DAILY_QUOTA] * 50
    two.clock.pass_by(10.0)
    later = await two.ask()
    assert isinstance(told, Denial)
    assert isinstance(later, Denial)
    assert told.allowance is not None
    assert later.allowance is not None
    assert later.reset == pytest.approx(told.reset)
    assert later.allowance.resets_in == pytest.approx(told.allowance.resets_in - 10.0)
    assert two.here.answers["known"] == 52


async def test_it_is_asked_again_after_a_minute_and_at_the_reset() -> None:
    two = await all_spent()
    two.clock.pass_by(SPENT_KNOWN_FOR - 0.1)
    assert await two.refused_unasked() is Reason.DAILY_QUOTA
    two.clock.pass_by(0.1)
    assert await two.refused_unasked() is None
    left = 86_400 - two.clock.wall % 86_400
    two.clock.pass_by(left - 30.0)
    assert isinstance(await two.ask(), Denial)
    two.clock.pass_by(30.0)
    assert isinstance(await two.ask(), Reservation)


async def test_what_others_hold_and_give_back_is_hidden_for_a_second_at_most() -> None:
    two = Two()
    given = await two.ask(two.elsewhere, images=3)
    assert isinstance(given, Reservation)
    assert isinstance(await two.ask(), Denial)
    two.elsewhere.release(given)
    await two.elsewhere.finish(Seconds(1.0))
    two.clock.pass_by(HELD_KNOWN_FOR - 0.01)
    assert await two.refused_unasked() is Reason.DAILY_QUOTA
    two.clock.pass_by(0.01)
    assert isinstance(await two.ask(), Reservation)


async def test_what_is_given_back_here_is_not_hidden_at_all() -> None:
    two = Two()
    given = await two.ask(images=3)
    assert isinstance(given, Reservation)
    assert isinstance(await two.ask(), Denial)
    two.here.release(given)
    await two.here.finish(Seconds(1.0))
    assert isinstance(await two.ask(), Reservation)


async def test_a_smaller_ask_that_could_fit_is_asked() -> None:
    two = Two()
    await two.have(two.elsewhere, images=2)
    assert isinstance(await two.ask(images=2), Denial)
    two.clock.pass_by(HELD_KNOWN_FOR)
    assert await two.refused_unasked(images=2) is Reason.DAILY_QUOTA
    assert isinstance(await two.ask(images=1), Reservation)


async def test_a_retry_of_what_was_delivered_is_still_told_so() -> None:
    two = await all_spent()
    assert await two.refused_unasked(key="k1") is Reason.DUPLICATE
    assert await two.refused_unasked(key="new") is Reason.DAILY_QUOTA


async def test_a_raised_limit_is_asked_at_once() -> None:
    two = await all_spent()
    assert isinstance(await two.ask(rule=QuotaRule(images=4)), Reservation)


async def test_other_users_are_asked_for() -> None:
    two = await all_spent()
    assert isinstance(await two.ask(user="bob"), Reservation)


async def test_the_known_are_refused_as_such_while_the_store_is_away() -> None:
    two = await all_spent()
    two.store.broken = True
    assert await two.refused_unasked() is Reason.DAILY_QUOTA
    outcome = await two.ask(user="bob")
    assert isinstance(outcome, Denial)
    assert outcome.reason is Reason.QUOTA_STORE


def test_they_are_bounded_and_the_least_asked_for_go_first() -> None:
    known = KnownAccounts(most=3)
    for number in range(5):
        at = Seconds(0.0)
        facts = Standing(used=3, spent=3, at=at, resets_at=Seconds(9.0), window=Seconds(9.0), requests=None)
        known.learn(("free", f"user-{number}"), facts)
        known.standing(("free", "user-0"), at)
    assert len(known) == 3
    assert known.standing(("free", "user-0"), Seconds(1.0)) is not None
    assert known.standing(("free", "user-1"), Seconds(1.0)) is None


steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "commit", "release", "wait"]),
        st.booleans(),  # which of the two agents
        st.integers(1, 3),  # images, or seconds
        st.sampled_from([None, "k0", "k1", "k2"]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_whom_the_store_would_grant_is_refused_only_within_a_second_of_a_release(
    steps: list[tuple[str, bool, int, str | None]],
) -> None:
    asyncio.run(Play().play(steps))


class Play:
    """Two agents' requests in some order."""

    def __init__(self) -> None:
        self.two = Two()
        self.running: list[Reservation] = []
        self.released = float("-inf")

    async def play(self, steps: list[tuple[str, bool, int, str | None]]) -> None:
        """Take the steps, and judge each refusal for which the store was not asked."""
        for doing, first, amount, key in steps:
            desk = self.two.here if first else self.two.elsewhere
            if doing == "wait":
                self.two.clock.pass_by(amount / 4)
            elif doing == "claim":
                await self.claim(desk, amount, key)
            elif self.running:
                await self.end(desk, doing)

    async def claim(self, desk: QuotaDesk, images: int, key: str | None) -> None:
        """Ask, and compare with what the store would have said."""
        calls, account = self.two.store.calls, self.two.store.account(ANN)
        outcome = await self.two.ask(desk, images=images, key=key)
        if isinstance(outcome, Reservation):
            self.running.append(outcome)
        elif self.two.store.calls == calls and self.two.clock.elapsed() - self.released >= HELD_KNOWN_FOR:
            verdict = would_be(account, hashed("ann", key) if key else "another", images, self.two.clock)
            assert verdict is not Verdict.GRANTED
            assert (verdict is not Verdict.EXHAUSTED) == (outcome.reason is Reason.DUPLICATE)

    async def end(self, desk: QuotaDesk, doing: str) -> None:
        """End the newest request."""
        given = self.running.pop()
        if doing == "commit":
            desk.commit(given)
        else:
            desk.release(given)
            self.released = self.two.clock.elapsed()
        await desk.finish(Seconds(1.0))


def would_be(account: Account, request: str, images: int, clock: ManualClock) -> Verdict:
    claim = Claim(request=request, images=images, limit=3, hold_for=Seconds(1.0))
    return claim_images(account, claim, Instant(clock.wall)).verdict
