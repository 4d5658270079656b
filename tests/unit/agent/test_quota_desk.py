import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meltguard.agent.fields import of_allowance, rate_limit_fields
from meltguard.agent.news import News
from meltguard.agent.quota_asks import Denial, QuotaAsk, Reservation
from meltguard.agent.quota_desk import QuotaDesk
from meltguard.agent.quota_store import AccountKey, hashed
from meltguard.agent.quota_told import MOST_TOGETHER
from meltguard.agent.refusal import Reason
from meltguard.agent.statefile import StateFile
from meltguard.api.limit_document import QuotaRule
from meltguard.core.quota import Period, span_of
from meltguard.core.units import Instant, Seconds
from support.agents import ManualClock
from support.eventually import eventually
from support.memory_quota import MemoryQuotaStore

ANN = AccountKey(policy="serving/image-gen", tier="free", user=hashed("ann"))
QUICK = Seconds(0.01)


class Pair:
    """A desk and its store, each with a clock of its own."""

    def __init__(self, path: Path | None = None, store: MemoryQuotaStore | None = None) -> None:
        self.here, self.there = ManualClock(), ManualClock()
        self.store = store or MemoryQuotaStore(self.there)
        self.state = StateFile(path)
        self.news = News()
        self.desk = QuotaDesk("serving/image-gen", self.store, self.here, self.state, self.news)

    async def ask(self, **changes: Any) -> Reservation | Denial:
        """Ask for one image."""
        fields = {"tier": "free", "user": "ann", "key": None, "images": 1, "rule": QuotaRule(images=3), **changes}
        return await self.desk.reserve(QuotaAsk(hold_for=Seconds(60.0), **fields))

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The desk settles in the background."""
        task = asyncio.create_task(self.desk.run(QUICK))
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def reason(outcome: Reservation | Denial) -> Reason | None:
    return outcome.reason if isinstance(outcome, Denial) else None


@pytest.mark.parametrize("hours", [-30, -1, 1, 30])
async def test_the_stores_clock_counts_not_the_agents(hours: int) -> None:
    pair = Pair()
    pair.here.wall += hours * 3600
    outcome = await pair.ask()
    assert isinstance(outcome, Reservation)
    midnight = 86_400 - pair.there.wall % 86_400
    assert outcome.allowance.resets_in == pytest.approx(midnight)


PERIODS = {
    Period.DAY: ("images-daily", 86_400, Reason.DAILY_QUOTA),
    Period.WEEK: ("images-weekly", 604_800, Reason.WEEKLY_QUOTA),
    Period.MONTH: ("images-monthly", 31 * 86_400, Reason.MONTHLY_QUOTA),  # January 2027
}


@pytest.mark.parametrize(("period", "told"), PERIODS.items(), ids=str)
async def test_each_period_has_its_name_window_and_reason(period: Period, told: tuple[str, int, Reason]) -> None:
    pair, (name, window, why) = Pair(), told
    rule = QuotaRule(images=1, per=period)
    granted, denied = await pair.ask(rule=rule), await pair.ask(rule=rule)
    assert isinstance(granted, Reservation)
    assert rate_limit_fields([of_allowance(granted.allowance)])["ratelimit-policy"] == f'"{name}";q=1;w={window}'
    assert reason(denied) is why
    span = span_of(Instant(pair.there.wall), lambda _: Seconds(0.0), period)
    assert granted.allowance.resets_in == pytest.approx(span.end - pair.there.wall)


async def test_a_user_has_a_new_week_after_monday_begins() -> None:
    pair, rule = Pair(), QuotaRule(images=1, per=Period.WEEK)
    granted = await pair.ask(rule=rule)
    assert isinstance(granted, Reservation)
    pair.desk.commit(granted)
    await pair.desk.finish(Seconds(1.0))
    for clock in (pair.here, pair.there):
        clock.pass_by(86_400)
    assert reason(await pair.ask(rule=rule)) is Reason.WEEKLY_QUOTA
    for clock in (pair.here, pair.there):
        clock.pass_by(6 * 86_400)
    assert reason(await pair.ask(rule=rule)) is None


async def test_a_denial_tells_the_reset_on_the_agents_own_clock() -> None:
    pair = Pair()
    pair.here.wall += 30  # its clock is ahead
    outcome = await pair.ask(rule=QuotaRule(images=0))
    assert isinstance(outcome, Denial)
    assert outcome.reset is not None
    assert outcome.reset - pair.here.wall == pytest.approx(86_400 - pair.there.wall % 86_400)


async def test_a_few_failures_in_a_row_end_the_asking() -> None:
    pair = Pair()
    pair.store.broken = True
    assert [reason(await pair.ask()) for _ in range(10)] == [Reason.QUOTA_STORE] * 10
    assert pair.store.calls == 3
    assert pair.desk.down
    await asyncio.sleep(0)
    assert pair.news.sequence == 1


async def test_it_comes_back_by_itself() -> None:
    pair = Pair()
    pair.store.broken = True
    async with pair.working():
        for _ in range(3):
            await pair.ask()
        assert pair.desk.down
        pair.store.broken = False
        await eventually(lambda: not pair.desk.down)
        assert reason(await pair.ask()) is None


async def test_what_could_not_be_settled_is_settled_later() -> None:
    pair = Pair()
    outcomes = [await pair.ask(key=key) for key in ("a", "b")]
    async with pair.working():
        pair.store.broken = True
        for outcome, settle in zip(outcomes, (pair.desk.commit, pair.desk.release), strict=True):
            assert isinstance(outcome, Reservation)
            settle(outcome)
        await asyncio.sleep(0.05)
        assert pair.store.used(ANN) == 2
        pair.store.broken = False
        await eventually(lambda: pair.store.used(ANN) == 1)
    assert reason(await pair.ask(key="a")) is Reason.DUPLICATE


async def test_delivered_images_are_told_together() -> None:
    pair, count = Pair(), MOST_TOGETHER + 10
    rule = QuotaRule(images=count)
    outcomes = [await pair.ask(key=str(number), rule=rule) for number in range(count)]
    asked = pair.store.calls
    async with pair.working():
        for outcome in outcomes:
            assert isinstance(outcome, Reservation)
            pair.desk.commit(outcome)
        await eventually(lambda: pair.store.account(ANN).spent == count)
    assert pair.store.calls == asked + 2


async def test_images_given_back_wait_for_nobody() -> None:
    pair = Pair()
    outcomes = [await pair.ask(key=key) for key in ("a", "b")]
    async with pair.working():
        for outcome, settle in zip(outcomes, (pair.desk.commit, pair.desk.release), strict=True):
            assert isinstance(outcome, Reservation)
            settle(outcome)
        for _ in range(20):  # turns of the loop: no timer needs to end
            await asyncio.sleep(0)
        assert (pair.store.used(ANN), pair.store.account(ANN).spent) == (1, 1)


async def test_so_does_what_a_delivery_gives_back() -> None:
    """One of two images was blocked: its user may ask for another at once."""
    pair = Pair()
    outcome = await pair.ask(images=2)
    assert isinstance(outcome, Reservation)
    async with pair.working():
        pair.desk.commit(outcome, 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (pair.store.used(ANN), pair.store.account(ANN).spent) == (1, 1)


async def test_an_agent_that_starts_anew_still_knows_the_day(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    first = Pair(path)
    assert reason(await first.ask()) is None
    again = Pair(path)  # its store is empty
    outcome = await again.ask()
    assert reason(outcome) is Reason.QUOTA_STORE
    again.there.pass_by(86_400)
    again.here.pass_by(86_400)
    assert reason(await again.ask()) is None


async def test_two_users_with_one_key_are_two_requests() -> None:
    pair = Pair()
    assert reason(await pair.ask(key="k")) is None
    assert reason(await pair.ask(key="k", user="bob")) is None
    assert reason(await pair.ask(key="k")) is Reason.DUPLICATE


async def test_a_repeat_whose_answer_is_lost_takes_nothing_from_the_first() -> None:
    """Else a user who repeats a key while the store is slow would have more images than the quota."""
    pair = Pair()
    async with pair.working():
        first = await pair.ask(key="k", images=3)
        assert isinstance(first, Reservation)
        pair.store.broken = True
        assert reason(await pair.ask(key="k", images=3)) is Reason.QUOTA_STORE
        pair.store.broken = False
        await eventually(lambda: pair.desk.nothing_to_tell)
        assert pair.store.used(ANN) == 3
        assert reason(await pair.ask()) is Reason.DAILY_QUOTA


async def test_a_claim_whose_asker_is_gone_before_the_answer_is_given_back() -> None:
    pair = Pair()
    assert isinstance(await pair.ask(), Reservation)
    asking = asyncio.create_task(pair.ask(images=2))
    with pair.store.answering_late():
        await eventually(lambda: pair.store.used(ANN) == 3)
        asking.cancel()
        await asyncio.wait({asking})
    async with pair.working():
        await eventually(lambda: pair.store.used(ANN) == 1)


async def settled_by_who_follows(killed: Pair, state: Path) -> tuple[int, dict[str, Any]]:
    """What Ann has spent and is held for her, once the next agent has told the store all that it found."""
    following = Pair(state, killed.store)
    async with following.working():
        await eventually(lambda: following.desk.nothing_to_tell)
    account = killed.store.account(ANN)
    return account.spent, dict(account.holds)


@pytest.mark.parametrize("gives_back", [QuotaDesk.release, partial(QuotaDesk.commit, images=0)])
async def test_who_follows_an_agent_gives_back_what_began_to_be_delivered_and_was_not(
    tmp_path: Path, gives_back: Callable[[QuotaDesk, Reservation], None]
) -> None:
    """Killed before the store was told: the next agent knows that it costs nothing after all."""
    killed = Pair(tmp_path / "state.json")
    broken_off = await killed.ask(images=2)
    assert isinstance(broken_off, Reservation)
    killed.desk.delivers(broken_off)
    gives_back(killed.desk, broken_off)
    killed.desk.close()
    assert await settled_by_who_follows(killed, tmp_path / "state.json") == (0, {})


async def test_who_follows_a_killed_agent_settles_what_it_left(tmp_path: Path) -> None:
    killed = Pair(tmp_path / "state.json")
    delivered, underway = await killed.ask(images=2), await killed.ask()
    assert isinstance(delivered, Reservation)
    assert isinstance(underway, Reservation)
    killed.desk.delivers(delivered)
    killed.desk.close()
    assert await settled_by_who_follows(killed, tmp_path / "state.json") == (2, {})
