"""A retry storm in virtual time: a tier that was suspended opens, and everyone who was refused comes back.

One pod of 4 GPUs makes 2 image units a second. Clients come again after the Retry-After that the real gate's answer
gives, with its jitter; one in five comes every second whatever it says. Who waits in vain leaves after 20 s.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from random import Random

import pytest

from meltguard.agent.gate import Gate, Hindrance, Wish
from meltguard.agent.lane import Slot
from meltguard.agent.refusal import Refusal, retry_after
from meltguard.agent.standing import Standing
from meltguard.agent.turns import Ticket
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.core.units import Gpus, Instant, Seconds, Share, TierName, Units
from support.agents import FREE, limited

GPUS, SERVICE = 4, 2.0
CAPACITY = GPUS / SERVICE
LIFTED, END, SPAN, PATIENCE = 120.0, 240.0, 10.0, 20.0
NAME = TierName("free")
OPEN = FREE.model_copy(update={"queue": 32, "max_wait": 15.0})


def a_standing(tier: TierLimit) -> Standing:
    return Standing(source=LimitSource.LEASE, tiers={tier.name: tier}, fallback=tier)


class Storm:
    """Clients, each with one request after the other, before one gate."""

    def __init__(self, clients: int, seed: int) -> None:
        self.chance = Random(seed)  # noqa: S311 - draws a test's chances
        self.gate = Gate(Gpus(GPUS), 1_024, a_standing(OPEN), Seconds(0.0))
        self.events: list[tuple[float, int, Callable[[float], None]]] = []
        self.numbers: Iterator[int] = count()
        self.waiting: dict[Ticket, Callable[[float], None]] = {}
        self.done: list[float] = []
        self.offered: list[float] = []
        for number in range(clients):
            self._later(self.chance.uniform(0.0, 60.0), self._asking(f"user-{number}", rude=number % 5 == 0))
        self._later(30.0, lambda at: self._obey(limited(OPEN, TierState.SUSPEND, 0.0), at))
        self._later(LIFTED, lambda at: self._obey(OPEN, at))

    def run(self) -> None:
        """Until the end."""
        while self.events[0][0] < END:
            at, _, doing = heapq.heappop(self.events)
            doing(at)

    def _later(self, at: float, doing: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (at, next(self.numbers), doing))

    def _asking(self, user: str, *, rude: bool) -> Callable[[float], None]:
        """A client asks now, and again after its answer."""

        def again(at: float, hindrance: Hindrance) -> None:
            refusal = Refusal(reason=hindrance.reason, tier=NAME, status=503, wait=hindrance.wait)
            told = retry_after(refusal, Instant(at), Share(self.chance.random()))
            assert told is not None
            self._later(at + (1.0 if rude else told), ask)

        def ask(at: float) -> None:
            self.offered.append(at)
            placed = self.gate.place(Wish(NAME, Units(1.0), user), Seconds(at))
            for ticket in self.gate.gave_way():
                self._later(at + 1.0, self.waiting.pop(ticket))
            if isinstance(placed, Hindrance):
                again(at, placed)
            elif isinstance(placed, Slot):
                self._start(placed, ask, at)
            else:
                self.waiting[placed] = ask
                self._later(at + PATIENCE, lambda then: self._leave(placed, then))

        return ask

    def _obey(self, tier: TierLimit, at: float) -> None:
        for ticket in self.gate.obey(a_standing(tier), Seconds(at)):
            self._later(at + self.chance.uniform(1.0, 30.0), self.waiting.pop(ticket))

    def _leave(self, ticket: Ticket, at: float) -> None:
        if self.gate.leave(ticket):
            self._later(at + 1.0, self.waiting.pop(ticket))

    def _start(self, slot: Slot, ask: Callable[[float], None], at: float) -> None:
        self._later(at + SERVICE, lambda then: self._finish(slot, ask, then))

    def _finish(self, slot: Slot, ask: Callable[[float], None], at: float) -> None:
        self.gate.finish(slot, Seconds(at))
        self.gate.meter.done(slot.units, Seconds(0.0), Seconds(SERVICE))
        self.done.append(at)
        self._later(at + self.chance.expovariate(1 / 5.0), ask)
        for ticket, entered in self.gate.advance(Seconds(at)):
            self._start(entered, self.waiting.pop(ticket), at)


def recovery(storm: Storm) -> float:
    """Seconds after the lift until ten seconds in a row, and every ten from then on, bring nine tenths of capacity."""
    enough = 0.9 * CAPACITY * SPAN
    late = [
        start
        for start in range(int(LIFTED), int(END - SPAN) + 1)
        if sum(start < at <= start + SPAN for at in storm.done) < enough
    ]
    return max(late, default=LIFTED) - LIFTED + SPAN


@pytest.mark.parametrize("clients", [100, 1_000, 5_000])
@pytest.mark.parametrize("seed", [1, 2])
def test_goodput_is_back_within_a_minute_of_the_lift(clients: int, seed: int) -> None:
    storm = Storm(clients, seed)
    storm.run()
    assert not [at for at in storm.done if 30.0 + SERVICE < at <= LIFTED]
    assert recovery(storm) <= 60.0
    flood = sum(LIFTED < at <= LIFTED + 10.0 for at in storm.offered) / 10.0
    print(f"{clients} clients, {flood / CAPACITY:.0f} times capacity offered: {recovery(storm):.0f} s")  # noqa: T201
