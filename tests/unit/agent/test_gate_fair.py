"""Fair shares between users in every state of a tier, also where nobody may wait."""

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meltguard.agent.fair_bucket import FairBucket
from meltguard.agent.gate import Gate, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Gpus, Seconds, TierName, Units, UnitsPerSecond

NAME = TierName("free")
HEAVY = "heavy"
RUN = 1_200.0  # seconds
IN_REJECT = TierLimit(name=NAME, state=TierState.REJECT, rate=0.2, burst=4.0, queue=10, max_wait=30.0)
IN_DELAY = IN_REJECT.model_copy(update={"state": TierState.DELAY})
AT_MAXIMUM = TierLimit(name=NAME, state=TierState.OPEN, max_rate=0.2, burst=4.0, queue=10, max_wait=30.0)
AT_BOTH = IN_REJECT.model_copy(update={"max_rate": 0.2})
STATES = pytest.mark.parametrize(
    "rule", [IN_REJECT, IN_DELAY, AT_MAXIMUM, AT_BOTH], ids=["reject", "delay", "maximum", "both"]
)


@dataclass(frozen=True)
class Ask:
    """One request."""

    at: float
    user: str
    units: float = 1.0


def every(seconds: float, user: str, chance: Random, units: float = 1.0) -> list[Ask]:
    """Requests at random moments, so often on average."""
    found, at = [], chance.expovariate(1 / seconds)
    while at < RUN:
        found.append(Ask(at, user, units))
        at += chance.expovariate(1 / seconds)
    return found


def admitted(rule: TierLimit, asks: list[Ask]) -> Counter[str]:
    """Image units of each user that reached GPUs that are never short; who waits in vain leaves."""
    gate = Gate(Gpus(1_000), 1_024, Standing(source=LimitSource.LEASE, tiers={NAME: rule}, fallback=rule), Seconds(0.0))
    got: Counter[str] = Counter()
    waiting: list[Ticket] = []
    for ask in sorted(asks, key=lambda ask: ask.at):
        at = Seconds(ask.at)
        for ticket in [each for each in waiting if each.since < at - rule.max_wait]:
            gate.leave(ticket)
        for ticket, slot in gate.advance(at):
            got[ticket.user] += ticket.units
            gate.finish(slot, at)
        waiting = [each for each in waiting if each in gate.line.of(NAME)]
        placed = gate.place(Wish(NAME, Units(ask.units), ask.user), at)
        if isinstance(placed, Slot):
            got[ask.user] += ask.units
            gate.finish(placed, at)
        elif isinstance(placed, Ticket):
            waiting.append(placed)
    return got


@STATES
def test_of_64_requests_a_minute_one_users_60_leave_the_others_theirs(rule: TierLimit) -> None:
    chance = Random(1)  # noqa: S311 - a simulation
    lights = {"ann": 60.0, "bob": 60.0, "cid": 30.0}
    asks = [ask for user, seconds in lights.items() for ask in every(seconds, user, chance)]
    asked = Counter(ask.user for ask in asks)
    got = admitted(rule, asks + every(1.0, HEAVY, chance))
    for user in lights:
        assert got[user] >= 0.85 * asked[user]
    assert got.total() >= 0.95 * 0.2 * RUN  # nothing is lost to fairness


@STATES
@given(
    demands=st.lists(st.sampled_from([0.05, 0.1, 0.2, 0.5, 1.0]), min_size=1, max_size=5),  # of the tier's rate
    seed=st.integers(min_value=0, max_value=99),
)
@example(demands=[0.1, 0.5, 1.0, 0.5, 0.5], seed=1)  # several who are heavy, none as heavy as the heaviest
@settings(max_examples=8, deadline=None)
def test_each_user_gets_nearly_its_demand_or_a_fair_share(rule: TierLimit, demands: list[float], seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - a simulation
    asks = [ask for number, demand in enumerate(demands) for ask in every(0.2**-1 / demand, f"user-{number}", chance)]
    asked = Counter(ask.user for ask in asks)
    got = admitted(rule, asks + every(0.5, HEAVY, chance))
    fair = 0.2 * RUN / (len(demands) + 1)
    for user in asked:
        assert got[user] >= min(0.6 * asked[user], 0.5 * fair) - 4.0


@STATES
@given(units=st.sampled_from([0.25, 1.0, 2.0]), seed=st.integers(min_value=0, max_value=99))
@settings(max_examples=10, deadline=None)
def test_who_is_alone_gets_all_of_the_rate(rule: TierLimit, units: float, seed: int) -> None:
    chance = Random(seed)  # noqa: S311 - a simulation
    got = admitted(rule, every(units, HEAVY, chance, units))
    assert got[HEAVY] >= 0.93 * 0.2 * RUN


def test_others_who_do_not_come_again_keep_nothing_back_for_ever() -> None:
    bucket = FairBucket(UnitsPerSecond(0.2), Units(4.0), Seconds(0.0))
    one = Units(1.0)
    for _ in range(4):
        assert bucket.draw_for(HEAVY, one, one, Seconds(0.0))
    assert bucket.wait_of("ann", one, one, Seconds(5.1)) == 0
    assert bucket.wait_of(HEAVY, one, one, Seconds(5.1)) > 0
    bucket.take_for(HEAVY, Units(120.0), Seconds(6.0))
    assert bucket.wait_of(HEAVY, one, one, Seconds(6.0 + 595.0)) > 0  # about to have one unit
    assert bucket.wait_of(HEAVY, one, one, Seconds(6.0 + 606.0)) == 0


@STATES
@given(st.lists(st.tuples(st.floats(min_value=0.0, max_value=20.0), st.sampled_from("abc"), st.floats(0.1, 6.0))))
@settings(max_examples=30, deadline=None)
def test_no_more_than_the_rate_and_a_burst_is_admitted(rule: TierLimit, steps: list[tuple[float, str, float]]) -> None:
    asks, at = [], 0.0
    for later, user, units in steps:
        at += later
        asks.append(Ask(at, user, units))
    assert admitted(rule, asks).total() <= 0.2 * at + 4.0 + 6.0
