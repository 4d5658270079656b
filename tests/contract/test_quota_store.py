"""The quota store's promises, kept by the real Valkey and by the one in memory alike."""

import asyncio
import itertools
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meltguard.agent.quota_store import Ending, Outcome, QuotaStore, SpanSeen
from meltguard.agent.quota_valkey import ValkeyQuotaStore
from meltguard.agent.settings import StoreAddress
from meltguard.clock import SystemClock
from meltguard.core.quota import Period, Span
from meltguard.core.units import Instant, Seconds
from support.memory_quota import MemoryQuotaStore
from support.quota_claims import ANN, a_claim, ending_of
from support.valkey import ValkeyServer

GENEROUS = Seconds(5.0)
NUMBERS = itertools.count()


async def test_it_grants_the_allowance_and_no_more(store: QuotaStore) -> None:
    outcomes = [(await store.reserve(a_claim(f"r{number}"))).outcome for number in range(5)]
    assert outcomes == [Outcome.GRANTED] * 3 + [Outcome.EXHAUSTED] * 2


async def test_fifty_at_once_share_three_images(store: QuotaStore) -> None:
    answers = await asyncio.gather(*(store.reserve(a_claim(f"r{number}")) for number in range(50)))
    assert sum(answer.outcome is Outcome.GRANTED for answer in answers) == 3


async def test_a_request_for_several_images_is_granted_whole_or_not_at_all(store: QuotaStore) -> None:
    assert (await store.reserve(a_claim("r1", images=2))).outcome is Outcome.GRANTED
    answer = await store.reserve(a_claim("r2", images=2))
    assert (answer.outcome, answer.used) == (Outcome.EXHAUSTED, 2)
    assert (await store.reserve(a_claim("r3", images=1))).outcome is Outcome.GRANTED


async def test_what_is_released_may_be_had_again(store: QuotaStore) -> None:
    claim = a_claim("r1", limit=1)
    first = await store.reserve(claim)
    assert (await store.reserve(a_claim("r2", limit=1))).outcome is Outcome.EXHAUSTED
    for _ in range(2):  # a settlement may be told twice
        await store.settle([ending_of(claim, first.span, Ending.RELEASE)])
    answer = await store.reserve(a_claim("r3", limit=1))
    assert (answer.outcome, answer.used) == (Outcome.GRANTED, 1)


async def test_what_is_committed_is_spent_once(store: QuotaStore) -> None:
    claim = a_claim("r1")
    first = await store.reserve(claim)
    for _ in range(3):
        await store.settle([ending_of(claim, first.span, Ending.COMMIT)])
    await store.settle([ending_of(claim, first.span, Ending.RELEASE)])
    assert (await store.reserve(a_claim("r2"))).used == 2


async def test_settled_together_is_settled_one_by_one(store: QuotaStore) -> None:
    bob = replace(ANN, user="bob", period=Period.WEEK)
    asked = [a_claim("r1"), a_claim("r2"), a_claim("r3"), a_claim("w1", bob)]
    first, second, third, weekly = [(await store.reserve(claim)).span for claim in asked]
    elsewhere = SpanSeen(id="another", end=Instant(0.0))
    kept = ending_of(asked[0], first, Ending.COMMIT)
    await store.settle(
        [
            kept,
            ending_of(asked[1], second, Ending.RELEASE),
            ending_of(asked[2], elsewhere, Ending.RELEASE),
            ending_of(asked[3], weekly, Ending.COMMIT),
            kept,
        ]
    )
    assert third == second
    answers = [await store.reserve(claim) for claim in (*asked, a_claim("r4"))]
    outcomes = [Outcome.DELIVERED, Outcome.GRANTED, Outcome.IN_PROGRESS, Outcome.DELIVERED, Outcome.EXHAUSTED]
    assert [answer.outcome for answer in answers] == outcomes
    assert [answer.used for answer in answers] == [2, 3, 3, 1, 3]


async def test_a_repeated_request_gets_nothing_more(store: QuotaStore) -> None:
    claim = a_claim("r1")
    first = await store.reserve(claim)
    assert (await store.reserve(claim)).outcome is Outcome.IN_PROGRESS
    await store.settle([ending_of(claim, first.span, Ending.COMMIT)])
    again = await store.reserve(claim)
    assert (again.outcome, again.used) == (Outcome.DELIVERED, 1)


async def test_a_failed_request_may_be_repeated_with_its_key(store: QuotaStore) -> None:
    claim = a_claim("r1")
    first = await store.reserve(claim)
    await store.settle([ending_of(claim, first.span, Ending.RELEASE)])
    again = await store.reserve(claim)
    assert (again.outcome, again.used) == (Outcome.GRANTED, 1)


async def test_a_forgotten_hold_costs_nothing(store: QuotaStore) -> None:
    await store.reserve(a_claim("r1", limit=1, hold_for=Seconds(0.05)))
    await asyncio.sleep(0.08)
    assert (await store.reserve(a_claim("r2", limit=1))).outcome is Outcome.GRANTED


async def test_images_delivered_after_their_hold_ran_out_are_spent_all_the_same(store: QuotaStore) -> None:
    claim = a_claim("r1", hold_for=Seconds(0.05))
    first = await store.reserve(claim)
    await asyncio.sleep(0.08)
    assert (await store.reserve(a_claim("r2"))).used == 1
    for _ in range(2):
        await store.settle([ending_of(claim, first.span, Ending.COMMIT)])
    assert (await store.reserve(a_claim("r3"))).used == 3


async def test_a_repeat_that_is_given_up_gives_back_nothing_of_the_first(store: QuotaStore) -> None:
    first, repeat = (a_claim("r1", images=3, attempt=attempt) for attempt in ("first", "repeat"))
    granted = await store.reserve(first)
    await store.settle([ending_of(repeat, granted.span, Ending.RELEASE)])
    assert (await store.reserve(a_claim("r2"))).outcome is Outcome.EXHAUSTED
    await store.settle([ending_of(first, granted.span, Ending.RELEASE)])
    assert (await store.reserve(a_claim("r2"))).used == 1


async def test_a_day_that_is_not_the_stores_is_not_begun(store: QuotaStore) -> None:
    claim = a_claim("r1")
    tomorrow = Span(start=claim.span.end, end=Instant(claim.span.end + 100))
    before = SystemClock().now()
    answer = await store.reserve(replace(claim, span=tomorrow))
    assert (answer.outcome, answer.span) == (Outcome.WRONG_SPAN, None)
    assert before - 1.0 <= answer.now <= SystemClock().now() + 1.0


async def test_a_new_day_begins_with_a_full_allowance(store: QuotaStore) -> None:
    claim = a_claim("r1", limit=1)
    short = replace(claim, span=Span(start=claim.span.start, end=Instant(SystemClock().now() + 2.0)))
    first = await store.reserve(short)
    assert first.outcome is Outcome.GRANTED
    assert first.span is not None
    await asyncio.sleep(2.1)
    answer = await store.reserve(replace(a_claim("r2", limit=1), seen=first.span))
    assert (answer.outcome, answer.used) == (Outcome.GRANTED, 1)


async def test_another_zone_counts_only_from_the_next_day_on(store: QuotaStore) -> None:
    first = await store.reserve(a_claim("r1", limit=1))
    claim = a_claim("r2", limit=1)
    moved = replace(claim, span=Span(start=Instant(claim.span.start + 50), end=Instant(claim.span.end + 50)))
    answer = await store.reserve(moved)
    assert (answer.outcome, answer.span) == (Outcome.EXHAUSTED, first.span)


async def test_a_store_that_forgot_the_day_grants_nothing_to_anyone(store: QuotaStore) -> None:
    forgotten = SpanSeen(id="before-the-flush", end=Instant(SystemClock().now() + 50))
    answer = await store.reserve(replace(a_claim("r1"), seen=forgotten))
    assert answer.outcome is Outcome.LOST
    assert (await store.reserve(a_claim("r2"))).outcome is Outcome.LOST  # nor to an agent that never saw that day


async def test_a_newcomer_that_began_the_day_anew_is_stopped_by_the_first_who_remembers(store: QuotaStore) -> None:
    assert (await store.reserve(a_claim("r1"))).outcome is Outcome.GRANTED
    forgotten = SpanSeen(id="before-the-flush", end=Instant(SystemClock().now() + 50))
    assert (await store.reserve(replace(a_claim("r2"), seen=forgotten))).outcome is Outcome.LOST
    assert (await store.reserve(a_claim("r3"))).outcome is Outcome.LOST


async def test_a_day_seen_that_has_ended_says_nothing(store: QuotaStore) -> None:
    yesterday = SpanSeen(id="yesterday", end=Instant(SystemClock().now() - 1))
    assert (await store.reserve(replace(a_claim("r1"), seen=yesterday))).outcome is Outcome.GRANTED


async def test_a_settlement_of_another_day_changes_nothing(store: QuotaStore) -> None:
    claim = a_claim("r1")
    await store.reserve(claim)
    other = SpanSeen(id="another", end=Instant(0.0))
    await store.settle([ending_of(claim, other, Ending.RELEASE)])
    await store.settle([ending_of(a_claim("r9"), other, Ending.COMMIT)])
    assert (await store.reserve(a_claim("r2"))).used == 2


async def test_accounts_are_apart_by_policy_tier_and_user(store: QuotaStore) -> None:
    others = (replace(ANN, policy="serving/other"), replace(ANN, tier="plus"), replace(ANN, user="bob"))
    await store.reserve(a_claim("r1", limit=1))
    for number, other in enumerate(others):
        assert (await store.reserve(a_claim(f"o{number}", other, limit=1))).outcome is Outcome.GRANTED
    assert (await store.reserve(a_claim("r2", limit=1))).outcome is Outcome.EXHAUSTED


async def test_each_period_is_a_book_of_its_own(store: QuotaStore) -> None:
    accounts = [replace(ANN, period=period) for period in Period]
    for number, account in enumerate(accounts):
        assert (await store.reserve(a_claim(f"r{number}", account, limit=1))).outcome is Outcome.GRANTED
    for number, account in enumerate(accounts):
        assert (await store.reserve(a_claim(f"s{number}", account, limit=1))).outcome is Outcome.EXHAUSTED


async def test_what_was_not_made_is_given_back_at_the_commit(store: QuotaStore) -> None:
    claim = a_claim("r1", images=3)
    first = await store.reserve(claim)
    for _ in range(2):
        await store.settle([replace(ending_of(claim, first.span, Ending.COMMIT), images=2)])
    answer = await store.reserve(a_claim("r2", images=2))
    assert (answer.outcome, answer.used, answer.held) == (Outcome.EXHAUSTED, 2, 0)
    assert (await store.reserve(a_claim("r3"))).outcome is Outcome.GRANTED


async def test_an_exhausted_account_tells_what_it_holds_and_its_requests(store: QuotaStore) -> None:
    spent = a_claim("r1")
    first = await store.reserve(spent)
    await store.settle([ending_of(spent, first.span, Ending.COMMIT)])
    await store.reserve(a_claim("r2", images=2))
    answer = await store.reserve(a_claim("r3"))
    assert (answer.outcome, answer.used, answer.held) == (Outcome.EXHAUSTED, 3, 2)
    assert answer.requests == {"r1": Outcome.DELIVERED, "r2": Outcome.IN_PROGRESS}


async def test_a_lower_limit_counts_at_once(store: QuotaStore) -> None:
    for number in range(2):
        await store.reserve(a_claim(f"r{number}", limit=3))
    assert (await store.reserve(a_claim("r9", limit=2))).outcome is Outcome.EXHAUSTED


async def test_every_key_ends_with_the_day(server: ValkeyServer) -> None:
    client = server.client()
    client.flushall()
    real = ValkeyQuotaStore(StoreAddress(url=server.url), GENEROUS)
    claim = a_claim("r1")
    first = await real.reserve(claim)
    await real.reserve(a_claim("r2"))
    await real.settle([ending_of(claim, first.span, Ending.COMMIT)])
    await real.close()
    keys = client.keys("*")
    assert len(keys) == 4  # the span, the account, its holds, its delivered requests
    assert all(0 < client.pttl(key) <= 100_000 for key in keys)
    assert all("{serving/image-gen}" in key for key in keys)


STEPS = st.lists(
    st.tuples(st.sampled_from(["claim", "commit", "partly", "release"]), st.integers(0, 5)),
    min_size=5,
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_both_stores_answer_alike(server: ValkeyServer, steps: list[tuple[str, int]]) -> None:
    async def both() -> None:
        real, memory = ValkeyQuotaStore(StoreAddress(url=server.url), GENEROUS), MemoryQuotaStore(SystemClock())
        account = replace(ANN, user=f"user-{next(NUMBERS)}")
        day: SpanSeen | None = None
        for doing, number in steps:
            claim = a_claim(f"r{number}", account, images=1 + number % 2)
            if doing == "claim":
                answers = [await store.reserve(claim) for store in (real, memory)]
                assert len({(answer.outcome, answer.used, answer.held) for answer in answers}) == 1
                assert answers[0].requests == answers[1].requests
                assert answers[0].used <= 3 or answers[0].outcome is not Outcome.GRANTED
                day, other = answers[0].span, answers[1].span
            elif day is not None and other is not None:
                ending = Ending.COMMIT if doing == "partly" else Ending(doing)
                for store, span in ((real, day), (memory, other)):
                    settlement = ending_of(claim, span, ending)
                    images = 1 if doing == "partly" else settlement.images
                    await store.settle([replace(settlement, images=images)])
        await real.close()

    asyncio.run(both())
