"""Entering at once is a shorter way to the same decision."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.agent.gate import Gate, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.standing import Standing
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Gpus, Seconds, TierName, Units

START = Seconds(0.0)
NAMES = (TierName("free"), TierName("pro"))
RATES = st.one_of(st.none(), st.floats(min_value=0.0, max_value=4.0))


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    """Two tiers with any limits."""
    tiers = {
        name: TierLimit(
            name=name,
            priority=place,
            state=draw(st.sampled_from(TierState)),
            rate=draw(RATES),
            burst=draw(st.floats(min_value=0.5, max_value=4.0)),
            max_rate=draw(RATES),
            concurrency=draw(st.one_of(st.none(), st.integers(min_value=0, max_value=3))),
            queue=draw(st.integers(min_value=0, max_value=3)),
            max_wait=30.0,
        )
        for place, name in enumerate(NAMES)
    }
    return Standing(source=LimitSource.LEASE, tiers=tiers, fallback=tiers[NAMES[0]], observing=draw(st.booleans()))


class Request:
    """Whoever holds a slot."""

    def done(self) -> bool:
        """It stays."""
        return False


def enter_at_once(gate: Gate, tier: TierName, units: float, at: Seconds, user: str = "") -> Slot | None:
    lane = gate.lanes[tier]
    slot = Slot(lane.counts, Units(units), at)
    return slot if gate.enter_at_once(lane, slot, user, Request()) else None


EVENTS = st.lists(
    st.tuples(
        st.floats(min_value=0.0, max_value=2.0),  # seconds since the one before
        st.sampled_from(NAMES),
        st.floats(min_value=0.1, max_value=3.0),  # image units
        st.booleans(),  # one image is done before
        st.sampled_from(["heavy", "heavy", "ann"]),
    ),
    max_size=30,
)


@given(standings(), EVENTS)
def test_what_enters_at_once_is_what_place_would_have_let_in(
    standing: Standing, events: list[tuple[float, TierName, float, bool, str]]
) -> None:
    quick, plain = (Gate(Gpus(2), 8, standing, START) for _ in range(2))
    inside: list[tuple[Slot, Slot]] = []
    at = START
    for later, tier, units, done, user in events:
        at = Seconds(at + later)
        if done and inside:
            first, second = inside.pop()
            quick.finish(first, at)
            plain.finish(second, at)
            inside += [(one, other) for (_, one), (_, other) in zip(quick.advance(at), plain.advance(at), strict=True)]
        entered = enter_at_once(quick, tier, units, at, user)
        placed = entered or quick.place(Wish(tier, Units(units), user), at)
        expected = plain.place(Wish(tier, Units(units), user), at)
        assert type(placed) is type(expected)
        if isinstance(placed, Slot) and isinstance(expected, Slot):
            assert entered is not None or standing.observing
            inside.append((placed, expected))


@given(standings())
def test_nobody_enters_at_once_where_nothing_is_enforced_or_the_tier_is_suspended(standing: Standing) -> None:
    suspended = {name: rule.model_copy(update={"state": TierState.SUSPEND}) for name, rule in standing.tiers.items()}
    for closed in (replace(standing, observing=True), replace(standing, tiers=suspended)):
        gate = Gate(Gpus(2), 8, closed, START)
        assert enter_at_once(gate, NAMES[0], 1.0, START) is None
