"""What was delivered is told again to a store that fell back, and to no other."""

from dataclasses import replace

from meltguard.agent.quota_store import Ending, Settlement
from meltguard.agent.quota_told import MOST_TOGETHER, ToldStore
from meltguard.clock import SystemClock
from support.memory_quota import MemoryQuotaStore
from support.quota_claims import ANN

SPAN = "span-1"


def delivered(number: int, tier: str = "free", ending: Ending = Ending.COMMIT) -> Settlement:
    return Settlement(account=replace(ANN, tier=tier), span=SPAN, request=f"r{number}", images=1, ending=ending)


def test_the_highest_number_heard_counts() -> None:
    told = ToldStore()
    for writes in (3, 5, 4):
        told.heard("free", SPAN, writes)
    assert (told.writes("free", SPAN), told.writes("free", "another"), told.writes("plus", SPAN)) == (5, 0, 0)


def test_what_was_delivered_in_that_book_is_told_again_and_claims_wait_for_it() -> None:
    told = ToldStore()
    ended = [delivered(1), delivered(2, "plus"), delivered(3, ending=Ending.RELEASE), delivered(4)]
    told.acknowledged(ended, {"free": 6, "plus": 2})
    again = told.behind(ANN, SPAN, 3)
    assert [one.request for one in again] == ["r1", "r4"]
    assert (told.is_caught_up("free"), told.is_caught_up("plus"), told.writes("free", SPAN)) == (False, True, 3)
    told.acknowledged(again, {"free": 5})
    assert (told.is_caught_up("free"), told.writes("free", SPAN)) == (True, 5)
    assert [one.request for one in told.behind(ANN, SPAN, 2)] == ["r1", "r4"], "twice at most once each"


def test_who_delivered_nothing_has_nothing_to_wait_for() -> None:
    told = ToldStore()
    told.heard("free", SPAN, 9)
    assert told.behind(ANN, SPAN, 2) == []
    assert told.is_caught_up("free")
    assert (told.writes("free", SPAN), told.fell_back["free"]) == (2, 1)


async def test_a_store_that_was_away_is_told_all_in_pieces() -> None:
    told, store = ToldStore(), MemoryQuotaStore(SystemClock())
    told.acknowledged([delivered(number) for number in range(MOST_TOGETHER + 1)], {"free": 200})
    await told.tell_anew(store)
    assert store.calls == 2
    assert told.writes("free", SPAN) == 0
