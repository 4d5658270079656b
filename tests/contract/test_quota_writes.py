"""Each write of a span has a number, so that a store which fell back behind what it has shown is noticed."""

from dataclasses import replace

from meltguard.agent.quota_store import Ending, Outcome, QuotaStore
from support.quota_claims import a_claim, ending_of


async def test_a_store_that_knows_fewer_writes_than_it_has_shown_grants_nothing_to_who_noticed(
    store: QuotaStore,
) -> None:
    first = await store.reserve(a_claim("one"))
    assert (first.outcome, first.writes) == (Outcome.GRANTED, 1)
    seen = replace(a_claim("two"), seen=first.span, writes=2)
    behind = await store.reserve(seen)
    assert (behind.outcome, behind.writes, behind.used) == (Outcome.BEHIND, 1, 0)
    assert (await store.reserve(replace(seen, writes=1))).outcome is Outcome.GRANTED
    other = replace(seen, seen=None, claim=replace(seen.claim, request="three"))
    assert (await store.reserve(other)).outcome is Outcome.GRANTED, "who has seen no span cannot know its writes"


async def test_each_write_of_a_span_is_numbered_and_what_changes_nothing_is_none(store: QuotaStore) -> None:
    claims = [a_claim("one"), a_claim("two")]
    granted = [await store.reserve(claim) for claim in claims]
    assert [one.writes for one in granted] == [1, 2]
    ended = [
        ending_of(claims[0], granted[0].span, Ending.COMMIT),
        ending_of(claims[1], granted[0].span, Ending.RELEASE),
    ]
    assert await store.settle(ended) == {"free": 4}
    assert await store.settle(ended) == {"free": 4}
    assert (await store.reserve(a_claim("one"))).writes == 4
