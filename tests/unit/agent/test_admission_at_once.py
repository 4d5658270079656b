"""Entering at once, with all that an admission looks at and counts, is a shorter way to the same decision."""

import asyncio
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from meltguard.agent.admission import Admission, Desks
from meltguard.agent.agent import Agent
from meltguard.agent.cost import Cost
from meltguard.agent.lane import Holder
from meltguard.agent.refusal import Refusal
from meltguard.agent.visit import Ask, Result, Visit
from meltguard.api.limit_document import DocumentKind, LimitDocument, TierLimit, TierState
from meltguard.core.units import Gpus, TierName
from support.agents import ManualClock, Patient, a_lease, agent_settings, signed

NAMES = ("free", "pro")
GPUS = 3
STARTED = ManualClock().steady
TTL, LONGEST = 20.0, 2.0  # of the lease, and between two requests
RATES = st.none() | st.floats(min_value=0.0, max_value=4.0)
COUNTED = ("offered", "offered_units", "offered_squares", "admitted", "admitted_units", "waited", "wait_sum")


class General(Admission):
    """Looks at every request closely."""

    @override
    def enter_at_once(self, ask: Ask, holder: Holder) -> Visit | None:
        return None


class Request(Patient):
    """Who asks, and stays."""

    def done(self) -> bool:
        """It is there."""
        return False


class Event(NamedTuple):
    """What happens next."""

    later: float  # seconds since the one before
    tier: str
    images: int
    user: str
    key: str | None
    feature: str
    one_is_done: bool
    delivered: bool


class World:
    """An admission and its clock."""

    def __init__(self, kind: type[Admission], document: LimitDocument) -> None:
        self.clock = ManualClock()
        agent = Agent(agent_settings(gpus=Gpus(GPUS)), self.clock, None)
        agent.obey(signed(document))
        self.admission = kind(agent.settings, self.clock, Desks(agent.documents, agent.quota, agent.news))
        self.inside: list[Visit] = []

    async def step(self, event: Event) -> str:
        """One request comes; what became of it."""
        self.clock.pass_by(event.later)
        if event.one_is_done and self.inside:
            done = Result(200, finished=event.delivered, delivered=event.delivered)
            self.admission.finish(self.inside.pop(), done)
        cost = Cost(images=event.images, width=512)
        ask = Ask(TierName(event.tier), event.user, cost, key=event.key, feature=event.feature)
        outcome = self.admission.enter_at_once(ask, Request()) or await self.admission.admit(ask, Request())
        if isinstance(outcome, Refusal):
            return f"{outcome.tier}: {outcome.reason}"
        self.inside.append(outcome)
        return f"{outcome.tier}: {outcome.units}"

    def make_room(self, document: LimitDocument) -> None:
        """Where a request may wait, as while observing and after the lease, a GPU is free: nobody waits here."""
        waits = document.kind is DocumentKind.OBSERVE or self.clock.steady >= STARTED + TTL - LONGEST
        if waits and len(self.inside) >= GPUS:
            self.admission.finish(self.inside.pop(0), Result(200, finished=True, delivered=True))

    def counted(self) -> dict[str, object]:
        """All that is kept of what was decided."""
        at, meter = self.clock.elapsed(), self.admission.gate.meter
        found: dict[str, object] = {
            f"{tier} {name}": round(getattr(counts, name), 6)
            for tier, counts in self.admission.records.tally.tiers.items()
            for name in COUNTED
        }
        for tier, counts in self.admission.records.tally.tiers.items():
            lists = (counts.refused, counts.would_refuse, counts.wait_counts, list(counts.waits.latest), counts.inside)
            found[f"{tier} lists"] = lists
        sums = (meter.busy(at), meter.held(at), meter.units_done, meter.units_in_flight, meter.drain_rate or 0.0)
        return {
            **found,
            "sums": [round(each, 6) for each in sums],
            "slots": (meter.in_flight, len(self.admission.gate.slots)),
        }


@st.composite
def documents(draw: st.DrawFn) -> LimitDocument:
    """Two tiers with any limits, in which nobody may wait."""
    tiers = [
        TierLimit(
            name=name,
            priority=place,
            state=draw(st.sampled_from(TierState)),
            rate=draw(RATES),
            burst=draw(st.floats(min_value=0.0, max_value=4.0)),
            max_rate=draw(RATES),
            concurrency=draw(st.none() | st.integers(0, 3)),
            queue=0,
        )
        for place, name in enumerate(NAMES)
    ]
    kind = draw(st.sampled_from([DocumentKind.ENFORCE] * 3 + [DocumentKind.OBSERVE]))
    features = draw(st.dictionaries(st.sampled_from(["edit", "upscale"]), st.integers(0, 100)))
    return a_lease(*tiers, kind=kind, features=features, ttl=TTL, issued_at=ManualClock().now())


EVENTS = st.builds(
    Event,
    later=st.floats(0.0, LONGEST),
    tier=st.sampled_from([*NAMES, "unknown"]),
    images=st.integers(1, 4),
    user=st.sampled_from(["ann", "bob", "eve"]),
    key=st.none() | st.sampled_from(["k1", "k2"]),
    feature=st.sampled_from(["", "edit", "upscale"]),
    one_is_done=st.booleans(),
    delivered=st.booleans(),
)


@settings(deadline=None, max_examples=150)
@given(document=documents(), events=st.lists(EVENTS, max_size=30))
def test_who_enters_at_once_would_have_entered_and_is_counted_alike(
    document: LimitDocument, events: list[Event]
) -> None:
    async def lived() -> None:
        quick, general = World(Admission, document), World(General, document)
        for event in events:
            for world in (quick, general):
                world.make_room(document)
            assert await quick.step(event) == await general.step(event)
            assert quick.counted() == general.counted()

    asyncio.run(lived())
