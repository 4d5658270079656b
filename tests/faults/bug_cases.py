"""The runs that seeded bugs are tried on."""

from dataclasses import replace
from typing import Final

from faults import cases, drain_cases, fleet_cases, server_cases, world
from faults.cases import AFTER, at
from faults.drain_cases import BUSY
from faults.meddling import policy_changed
from faults.rules import Answer, Kill, Match, Moment, Rule
from faults.scenario import Case

HUNGRY: Final = 30.0
"""Image units a second: two more nodes are needed."""


def named(name: str) -> Case:
    """A case of the matrix, by its name."""
    groups = (
        server_cases.api_server(),
        cases.watches(),
        cases.beyond(),
        fleet_cases.on_nodes(),
        fleet_cases.on_claims(),
        fleet_cases.on_pods(),
        fleet_cases.on_policies(),
        drain_cases.budgets(),
        drain_cases.owners(),
    )
    return next(case for group in groups for case in group if case.name == name)


def short(case: Case) -> Case:
    """A bug that stops everything needs not be waited for as long as a slow repair."""
    return replace(case, lends_within=min(case.lends_within, 40.0), converges=min(case.converges, 30.0))


IDLE: Final = short(cases.fault_free())
DRAINED: Final = short(replace(cases.fault_free(BUSY), shape=replace(BUSY, notice="5s")))
KILLED: Final = short(
    Case(name="killed-after-claim", rules=lambda _: (Rule(match=Match(label="Cordoned"), act=Kill(Moment.AFTER)),))
)
CONFLICTED: Final = Case(
    name="409-once",
    rules=lambda _: (Rule(match=Match(label="Cordoned"), act=Answer(409)),),
    lends_within=50.0,
    converges=45.0,
)
TWO_WANTED: Final = short(Case(name="two-wanted", rules=lambda _: (), demand=HUNGRY))
ONE_TO_SPARE: Final = replace(TWO_WANTED, name="one-to-spare", shape=world.Shape(floor=3, max_loans=2))
EDITED: Final = short(
    Case(
        name="policy-edited-while-lent",
        rules=lambda s: (at("Lent", AFTER, policy_changed(s, {"spec": {"levels": {"dwell": "2s"}}})),),
    )
)
