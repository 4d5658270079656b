"""Orders: never above a cap, never twice, cheapest first with the wait counted, and nobody else's node is taken."""

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.providers import effective_price, next_write, ordered, orders, overtaken, why_not
from meltguard.core.purchases import Books, Provider, Scale, ScaleWrite, Stage, advanced, reopened
from meltguard.core.scaling import Removal
from meltguard.core.spend import PENNY, Fare, Spend, affordable, charged, refunded
from meltguard.core.units import Gpus, Instant, Money, PoolName, Seconds
from support.core_values import a_node, a_pod
from support.providers import DAY, MadeProvider, a_provider, a_scaling, a_want, calendar

BURST, CLOUD = PoolName("burst"), PoolName("cloud")


def test_time_is_booked_on_the_day_that_it_is_in_and_comes_back_whole() -> None:
    fare = Fare(per_hour=Money(6.0), since=Instant(DAY - 1800), until=Instant(DAY + 3600))
    spend = charged(Spend(), fare, calendar)
    assert spend.by_day == {"2026-10-01": 3.0, "2026-10-02": 6.0}
    assert spend.by_month == {"2026-10": 9.0}
    assert set(refunded(spend, fare, calendar).by_day.values()) == {0.0}


def test_the_cheapest_delivers_its_wait_counted() -> None:
    near = a_provider("cloud", cost=1.2, books=Books(arrival=Seconds(60.0)))
    far = a_provider("burst", cost=1.0, books=Books(arrival=Seconds(3600.0)))
    assert effective_price(far) > effective_price(near)
    after = orders([a_want()], {BURST: far, CLOUD: near})
    assert [len(after[name].books.nodes) for name in (BURST, CLOUD)] == [0, 1]


def test_who_has_no_room_hands_on_to_the_next() -> None:
    small = a_provider("burst", cost=0.5, scaling=a_scaling(most=1))
    after = orders([a_want(24)], {BURST: small, CLOUD: a_provider("cloud", cost=2.0)})
    assert [len(after[name].books.nodes) for name in (BURST, CLOUD)] == [1, 2]


REFUSALS = {
    "its scale is not known": (a_provider(scale=None, problem="no such object"), "ScaleUnknown"),
    "its price is not known": (a_provider(cost=None), "CostUnknown"),
    "it says that it has none": (a_provider(scale=Scale(wanted=0, present=0, refusing="sold out")), "NoCapacity"),
    "it did not deliver": (a_provider(books=Books(failures=1, rest_until=Instant(2000.0))), "NoCapacity"),
    "it is full": (a_provider(scale=Scale(wanted=8, present=8)), "AtMost"),
    "its day's cap is reached": (a_provider(scaling=a_scaling(per_day=Money(5.0))), "SpendCapReached"),
    "its month's cap is reached": (a_provider(scaling=a_scaling(per_month=Money(5.0))), "SpendCapReached"),
}


@pytest.mark.parametrize(("provider", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_nothing_is_ordered_where(provider: Provider, reason: str) -> None:
    assert why_not(provider)[0] == reason
    assert orders([a_want()], {BURST: provider})[BURST].books == provider.books


def test_who_does_not_know_of_his_order_orders_nothing() -> None:
    once = orders([a_want()], {BURST: a_provider()})
    assert orders([a_want()], once) == once
    assert len(orders([a_want(on_order=Gpus(8))], once)[BURST].books.nodes) == 2


def test_the_order_of_wants_does_not_matter() -> None:
    wants = [
        a_want(16, policy_uid=uid, policy=f"serving/{uid}", priority=priority)
        for uid, priority in (("a", 1), ("b", 3), ("c", 2))
    ]
    providers = {BURST: a_provider(scaling=a_scaling(most=3)), CLOUD: a_provider("cloud", cost=3.0)}
    results = [orders(list(some), providers) for some in permutations(wants)]
    assert all(result == results[0] for result in results)
    first = [one.policy_uid for one in results[0][BURST].books.nodes]
    assert first == ["b", "c", "b"]  # need times priority: 48, then 32 of c, then 24 of b


def arrived(**changes: object) -> Provider:
    made = MadeProvider(a_provider(scaling=a_scaling(**changes)))
    made.buy(a_want())
    made.step(30.0, delivers=True)
    return made.this


def test_an_order_arrives_and_its_time_is_learned() -> None:
    this = arrived()
    assert [one.stage for one in this.books.nodes] == [Stage.HERE]
    assert (this.books.arrival, this.books.counts.arrived) == (30.0, 1)


def test_an_order_that_does_not_arrive_is_taken_back_and_its_provider_rests_longer_each_time() -> None:
    made = MadeProvider(a_provider())
    made.buy(a_want())
    made.step(601.0, delivers=False)
    assert why_not(made.this)[0] == "NoCapacity"
    assert made.this.books.counts.failed == 1
    made.buy(None)
    assert made.this.scale is not None
    assert made.this.scale.wanted == 0
    made.step(1.0, delivers=False)
    assert made.this.books.nodes == ()
    assert sum(made.this.books.spend.by_day.values()) == pytest.approx(8.0 * 602 / 3600, abs=0.01)
    made.step(60.0, delivers=False)
    made.buy(a_want())
    made.step(601.0, delivers=False)
    assert made.this.books.rest_until == made.this.now + 120.0


def test_an_idle_node_leaves_only_after_it_is_marked_and_empty() -> None:
    this = advanced(replace(arrived(), now=Instant(1400.0), verified=frozenset()))
    assert [one.stage for one in this.books.nodes] == [Stage.LEAVING]
    assert next_write(this) is None
    write = next_write(replace(this, verified=frozenset({"o1"})))
    assert write == ScaleWrite(before=1, after=0, ids=frozenset({"o1"}))


def test_a_node_in_use_stays() -> None:
    this = arrived()
    busy = tuple(replace(node, pods=(a_pod(),)) for node in this.members)
    assert advanced(replace(this, members=busy, now=Instant(2000.0))).books.nodes[0].stage is Stage.HERE


def test_a_node_of_others_is_never_counted_out() -> None:
    """Replicas stay as many as there are nodes that nobody asked to go."""
    this = advanced(replace(arrived(), now=Instant(1400.0)))
    theirs = a_node("theirs", "burst")
    this = replace(this, members=(*this.members, theirs), verified=frozenset({"o1"}))
    assert next_write(this) is None  # one replica for two nodes: someone else has lowered it already


def test_a_provider_that_picks_by_itself_is_asked_only_once_all_may_go() -> None:
    this = advanced(replace(arrived(removal=Removal.ANY), now=Instant(1400.0)))
    this = replace(this, verified=frozenset({"o1"}), scale=Scale(wanted=2, present=2))
    assert next_write(replace(this, members=(*this.members, a_node("theirs", "burst")))) is None
    assert next_write(this) is not None


def test_the_minimum_is_bought_and_kept() -> None:
    this = orders([], {BURST: a_provider(scaling=a_scaling(least=2))})[BURST]
    assert len(this.books.nodes) == 2
    kept = advanced(replace(arrived(least=1), now=Instant(9999.0)))
    assert kept.books.nodes[0].stage is Stage.HERE


def test_a_node_that_goes_by_itself_is_still_owed() -> None:
    this = arrived()
    after = advanced(replace(this, members=(), uids=frozenset(), now=Instant(1100.0)))
    assert [(one.stage, one.uid) for one in after.books.nodes] == [(Stage.ORDERED, "")]


WRITES = {
    "not made yet": (0, False, Stage.ASKED),
    "made before the crash": (1, True, Stage.ORDERED),
    "made, and raised further by someone": (3, True, Stage.ORDERED),
}


@pytest.mark.parametrize(("wanted", "done", "stage"), WRITES.values(), ids=WRITES)
def test_after_a_crash_a_write_is(wanted: int, *, done: bool, stage: Stage) -> None:
    this = ordered(a_provider(), "policy-uid")
    this = replace(this, books=replace(this.books, write=next_write(this)), scale=Scale(wanted=wanted, present=0))
    books = overtaken(this)
    assert (books.write is None, books.nodes[0].stage) == (done, stage)


def test_what_is_in_use_after_all_voids_its_removal() -> None:
    this = replace(advanced(replace(arrived(), now=Instant(1400.0))), verified=frozenset({"o1"}))
    books = replace(this.books, write=next_write(this))
    assert reopened(books, ["o1"]).write is None
    assert reopened(books, ["o1"]).nodes[0].stage is Stage.HERE


def test_a_node_whose_next_hour_does_not_fit_leaves_in_time_and_another_comes_after_midnight() -> None:
    made = MadeProvider(a_provider(scaling=a_scaling(per_day=Money(20.0)), now=Instant(DAY / 2)))
    most, called_back, went = 0.0, False, False
    while made.this.now < DAY:
        made.use(used=True)
        made.step(150.0, delivers=True)
        made.buy(a_want(8 - 8 * len(made.this.books.nodes), on_order=made.on_order))
        called_back = called_back or any(one.expiring for one in made.this.books.nodes)
        went = went or (called_back and not made.this.books.nodes)
        most = max(most, made.this.books.spend.by_day.get("2026-10-01", 0.0))
    assert went
    assert 15.0 < most <= 20.0 + PENNY
    for _ in range(3):
        made.step(150.0, delivers=True)
        made.buy(a_want())
    assert made.this.books.nodes != ()


PASSES = st.lists(
    st.tuples(
        st.floats(60.0, 200.0),  # seconds until the next pass
        st.booleans(),  # whether the provider delivers
        st.integers(0, 40),  # GPUs missing
        st.booleans(),  # whether the nodes are in use: recalled ones no more
    ),
    min_size=1,
    max_size=120,
)


@given(passes=PASSES, per_day=st.floats(5.0, 400.0), least=st.integers(0, 2), at=st.floats(0.0, 2 * DAY))
def test_spend_stays_below_the_caps_and_replicas_between_their_bounds(
    passes: list[tuple[float, bool, int, bool]], per_day: float, least: int, at: float
) -> None:
    """Any demand, any delivery, over midnights and months: whatever leaves in time once it is called back."""
    scaling = a_scaling(per_day=Money(per_day), per_month=Money(1.5 * per_day), least=least, most=6)
    made = MadeProvider(a_provider(scaling=scaling, now=Instant(at)))
    days: dict[str, float] = {}
    for seconds, delivers, missing, used in passes:
        made.use(used=used)
        made.step(seconds, delivers=delivers)
        made.buy(a_want(missing, on_order=made.on_order) if missing else None)
        days.update(made.this.books.spend.by_day)
        assert made.this.scale is not None
        assert 0 <= made.this.scale.wanted <= scaling.most
        assert made.wrong == []
        assert all(cost <= per_day + 0.01 for cost in days.values())
        assert all(cost <= 1.5 * per_day + 0.01 for cost in made.this.books.spend.by_month.values())


@given(since=st.floats(0.0, 4 * DAY), long=st.floats(1.0, 3 * DAY), cap=st.floats(1.0, 500.0))
def test_what_is_affordable_is_below_every_cap(since: float, long: float, cap: float) -> None:
    caps = a_provider(scaling=a_scaling(per_day=Money(cap), per_month=Money(cap * 1.2))).caps
    fare = Fare(per_hour=Money(3.0), since=Instant(since), until=Instant(since + long))
    after = affordable(Spend(), fare, calendar, caps)
    if after is not None:
        assert max(after.by_day.values()) <= cap + 1e-5
        assert max(after.by_month.values()) <= cap * 1.2 + 1e-5
