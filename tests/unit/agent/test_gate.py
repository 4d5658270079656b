import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.gate import Gate, Hindrance, Placed, Slot, Wish
from meltguard.agent.refusal import Reason
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Gpus, Seconds, TierName, Units
from support.agents import FREE, PLUS, limited

START = Seconds(0.0)


def a_standing(*tiers: TierLimit, observing: bool = False) -> Standing:
    return Standing(
        source=LimitSource.LEASE, tiers={tier.name: tier for tier in tiers}, fallback=tiers[0], observing=observing
    )


def a_gate(*tiers: TierLimit, gpus: int = 1, hard_queue: int = 100, observing: bool = False) -> Gate:
    return Gate(Gpus(gpus), hard_queue, a_standing(*(tiers or (FREE, PLUS)), observing=observing), START)


def wish(tier: str = "free", units: float = 1.0) -> Wish:
    return Wish(TierName(tier), Units(units))


def place(gate: Gate, tier: str = "free", at: float = 0.0, units: float = 1.0) -> Placed:
    return gate.place(wish(tier, units), Seconds(at))


def slot(placed: Placed) -> Slot:
    assert isinstance(placed, Slot)
    return placed


def reason(placed: Placed) -> Reason | None:
    return placed.reason if isinstance(placed, Hindrance) else None


def finish(gate: Gate, held: Slot, at: float) -> list[TierName]:
    gate.finish(held, Seconds(at))
    gate.meter.done(held.units, held.since, Seconds(at))
    return [ticket.tier for ticket, _ in gate.advance(Seconds(at))]


def test_no_more_enter_than_there_are_gpus() -> None:
    gate = a_gate(gpus=2)
    placed = [place(gate) for _ in range(3)]
    assert [type(each) for each in placed] == [Slot, Slot, Ticket]


def test_the_more_important_goes_first_then_the_earlier() -> None:
    gate = a_gate()
    held = slot(place(gate))
    for tier in ("free", "plus", "free", "plus"):
        place(gate, tier)
    order = []
    while gate.line:
        gate.finish(held, START)
        ((ticket, held),) = gate.advance(START)
        order.append(ticket.tier)
    assert order == ["plus", "plus", "free", "free"]


def test_a_full_queue_refuses() -> None:
    gate = a_gate(FREE.model_copy(update={"queue": 2}))
    assert [reason(place(gate)) for _ in range(4)] == [None, None, None, Reason.QUEUE_FULL]


def test_the_hard_bound_holds_whatever_the_document_says() -> None:
    gate = a_gate(FREE.model_copy(update={"queue": 1_000_000}), hard_queue=3)
    assert [reason(place(gate)) for _ in range(5)] == [None] * 4 + [Reason.QUEUE_FULL]


def test_a_suspended_tier_is_refused_and_leaves_the_queue() -> None:
    gate = a_gate()
    place(gate)
    waiting = [place(gate, "free"), place(gate, "plus"), place(gate, "free")]
    turned_away = gate.obey(a_standing(limited(FREE, TierState.SUSPEND, 0.0), PLUS), START)
    assert turned_away == [waiting[0], waiting[2]]
    assert gate.line.count(TierName("plus")) == 1
    assert reason(place(gate, "free")) is Reason.TIER_SUSPENDED


def test_reject_turns_over_rate_away_at_once_though_gpus_are_idle() -> None:
    gate = a_gate(limited(FREE, TierState.REJECT, 0.5), gpus=8)
    slot(place(gate))
    refused = place(gate)
    assert refused == Hindrance(Reason.OVER_RATE, Seconds(2.0))
    slot(place(gate, at=2.0))


def test_delay_lets_over_rate_wait_its_turn() -> None:
    gate = a_gate(limited(FREE, TierState.DELAY, 0.5), gpus=8)
    slot(place(gate))
    assert isinstance(place(gate), Ticket)
    assert gate.next_turn(START) == 2.0
    assert gate.advance(Seconds(1.9)) == []
    assert len(gate.advance(Seconds(2.0))) == 1


def test_delay_refuses_what_would_wait_in_vain() -> None:
    gate = a_gate(limited(FREE, TierState.DELAY, 0.5, max_wait=5.0), gpus=8)
    placed = [place(gate) for _ in range(4)]
    assert [reason(each) for each in placed] == [None, None, None, Reason.OVER_RATE]
    assert placed[3] == Hindrance(Reason.OVER_RATE, Seconds(6.0))


def test_a_tier_held_by_its_rate_holds_nobody_else_up() -> None:
    gate = a_gate(FREE, limited(PLUS, TierState.DELAY, 0.5), gpus=2)
    slot(place(gate, "plus"))
    assert isinstance(place(gate, "plus"), Ticket)
    slot(place(gate, "free"))


def test_open_needs_no_rate() -> None:
    gate = a_gate(limited(FREE, TierState.OPEN, 0.001), gpus=5)
    assert all(isinstance(place(gate), Slot) for _ in range(5))


def test_the_own_maximum_is_another_reason_than_the_limit() -> None:
    gate = a_gate(FREE.model_copy(update={"max_rate": 0.2}), gpus=8)
    assert [reason(place(gate)) for _ in range(3)] == [None, None, Reason.OWN_MAXIMUM]
    assert gate.before_quota(wish(), START) == Hindrance(Reason.OWN_MAXIMUM, Seconds(5.0))
    slot(place(gate, at=5.0))


def test_what_is_refused_draws_nothing() -> None:
    gate = a_gate(limited(FREE, TierState.REJECT, 1.0, queue=0, max_rate=1.0), gpus=1)
    held = slot(place(gate))
    for _ in range(20):
        assert reason(place(gate, at=1.0)) is Reason.QUEUE_FULL
    gate.finish(held, Seconds(1.0))
    slot(place(gate, at=1.0))


def test_a_tiers_concurrency_leaves_gpus_to_others() -> None:
    gate = a_gate(FREE.model_copy(update={"concurrency": 1}), PLUS, gpus=3)
    held = slot(place(gate))
    assert isinstance(place(gate), Ticket)
    slot(place(gate, "plus"))
    assert finish(gate, held, 1.0) == ["free"]


def test_the_reflex_refuses_what_would_wait_in_vain_for_a_gpu() -> None:
    gate = a_gate(FREE.model_copy(update={"max_wait": 5.0, "queue": 100}))
    held = slot(place(gate))
    finish(gate, held, 2.0)  # one unit takes two seconds
    placed = [place(gate, at=2.0) for _ in range(5)]
    assert [reason(each) for each in placed] == [None, None, None, None, Reason.WAIT_TOO_LONG]
    assert gate.predicted_wait(Seconds(2.0)) == 6.0


def test_the_reflex_spares_the_more_important() -> None:
    gate = a_gate(FREE.model_copy(update={"max_wait": 100.0, "queue": 100}), PLUS.model_copy(update={"max_wait": 3.0}))
    finish(gate, slot(place(gate)), 2.0)
    for _ in range(20):
        place(gate, "free", at=2.0)
    assert isinstance(place(gate, "plus", at=2.0), Ticket)


def test_observing_lets_over_rate_in_and_still_guards_the_gpu() -> None:
    gate = a_gate(limited(FREE, TierState.SUSPEND, 0.0), hard_queue=1, observing=True)
    assert reason(place(gate)) is Reason.TIER_SUSPENDED
    slot(gate.place_freely(wish(), START))
    assert isinstance(gate.place_freely(wish(), START), Ticket)
    assert reason(gate.place_freely(wish(), START)) is Reason.QUEUE_FULL


def test_a_limit_that_comes_and_goes_gives_no_new_burst() -> None:
    gate = a_gate(limited(FREE, TierState.REJECT, 0.01, burst=2.0), gpus=100)
    entered = 0
    for _ in range(10):
        entered += isinstance(place(gate), Slot)
        gate.obey(a_standing(FREE), START)
        gate.obey(a_standing(limited(FREE, TierState.REJECT, 0.01, burst=2.0)), START)
    assert entered == 2


def test_a_tier_that_a_new_document_does_not_know_keeps_its_place() -> None:
    gate = a_gate()
    held = slot(place(gate, "plus"))
    place(gate, "plus")
    gate.obey(a_standing(limited(FREE, TierState.DELAY, 1.0)), START)
    assert finish(gate, held, 1.0) == ["plus"]


states = st.sampled_from(list(TierState))
limits = st.builds(
    lambda name, state, rate, burst, queue, concurrency, max_wait, max_rate: TierLimit(
        name=name,
        priority=len(name),
        state=state,
        rate=rate,
        burst=burst,
        queue=queue,
        concurrency=concurrency,
        max_wait=max_wait,
        max_rate=max_rate,
    ),
    st.sampled_from(["free", "plus", "pro"]),
    states,
    st.none() | st.floats(0, 5),
    st.floats(0, 3),
    st.integers(0, 4),
    st.none() | st.integers(0, 3),
    st.floats(0, 10),
    st.none() | st.floats(0, 5),
)
documents = st.lists(limits, min_size=1, max_size=3, unique_by=lambda tier: tier.name).map(
    lambda tiers: a_standing(*tiers)
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(["free", "plus", "pro"]), st.floats(0.1, 3)),
        st.tuples(st.just("finish"), st.integers(0, 9), st.none()),
        st.tuples(st.just("leave"), st.integers(0, 9), st.none()),
        st.tuples(st.just("wait"), st.floats(0, 3), st.none()),
        st.tuples(st.just("obey"), documents, st.none()),
    ),
    max_size=60,
)


class Driver:
    """Does any sequence of things to a gate, as the admission might."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.now = gate, START
        self.slots: list[Slot] = []
        self.tickets: list[Ticket] = []

    def advance(self) -> None:
        """Let in whoever may enter."""
        for ticket, entered in self.gate.advance(self.now):
            self.tickets.remove(ticket)
            self.slots.append(entered)

    def _ask(self, tier: object, units: object) -> None:
        assert isinstance(tier, str)
        assert isinstance(units, float)
        placed = self.gate.place(wish(tier, units), self.now)
        if isinstance(placed, Slot):
            self.slots.append(placed)
        elif isinstance(placed, Ticket):
            self.tickets.append(placed)

    def _finish(self, number: object, _: object) -> None:
        if self.slots and isinstance(number, int):
            self.gate.finish(self.slots.pop(number % len(self.slots)), self.now)

    def _leave(self, number: object, _: object) -> None:
        if self.tickets and isinstance(number, int):
            assert self.gate.leave(self.tickets.pop(number % len(self.tickets)))

    def _wait(self, seconds: object, _: object) -> None:
        assert isinstance(seconds, float)
        self.now = Seconds(self.now + seconds)

    def _obey(self, standing: object, _: object) -> None:
        assert isinstance(standing, Standing)
        for ticket in self.gate.obey(standing, self.now):
            self.tickets.remove(ticket)


@settings(deadline=None)
@given(gpus=st.integers(1, 3), hard_queue=st.integers(0, 3), doings=steps)
def test_whatever_happens_bounds_hold_and_nothing_is_lost(
    gpus: int, hard_queue: int, doings: list[tuple[str, object, object]]
) -> None:
    driver = Driver(a_gate(gpus=gpus, hard_queue=hard_queue))
    for doing, first, second in doings:
        getattr(driver, f"_{doing}")(first, second)
        driver.advance()
        gate = driver.gate
        assert gate.meter.in_flight == len(driver.slots) <= gpus
        assert len(gate.line) == len(driver.tickets)
        assert all(gate.line.count(tier) <= hard_queue for tier in gate.line.tiers())
        assert sum(ticket.units for ticket in driver.tickets) == pytest.approx(
            sum(gate.line.units(tier) for tier in gate.line.tiers()), abs=1e-6
        )


@settings(deadline=None)
@given(rate=st.floats(0.1, 5), burst=st.floats(0, 4), pauses=st.lists(st.floats(0, 2), max_size=60))
@pytest.mark.parametrize("state", [TierState.DELAY, TierState.REJECT])
def test_a_limited_tier_never_enters_faster_than_its_rate(
    state: TierState, rate: float, burst: float, pauses: list[float]
) -> None:
    gate = a_gate(limited(FREE, state, rate, burst=burst, queue=50, max_wait=1e6), gpus=1_000)
    now, entered = 0.0, 0
    for pause in pauses:
        now += pause
        entered += isinstance(place(gate, at=now), Slot)
        entered += len(gate.advance(Seconds(now)))
        assert entered <= rate * now + max(burst, 1.0) + 1e-6
