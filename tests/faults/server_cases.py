"""Rows 1 to 5 of the fault matrix: the API server is away, or refuses."""

from faults import meddling as do
from faults.cases import AFTER, BEFORE, HOMEWARD, LABELS, WHOLE, at
from faults.rules import Answer, Match, Reset, Rule
from faults.scenario import Case

WRITES = tuple(Match(method=method) for method in ("PATCH", "POST", "PUT"))


def api_server() -> tuple[Case, ...]:
    """Rows 1 to 5: the API server is away, or refuses."""
    forever = Rule(match=WHOLE, act=Reset(), times=0)
    failing = tuple(Rule(match=match, act=Answer(500), times=0) for match in WRITES)
    told = Rule(match=WHOLE, act=Answer(429, retry_after=2), times=0)
    return (
        Case(name="api-server-killed-5s", row=1, rules=lambda s: (at("Cordoned", AFTER, do.kill_api_server(s, 5.0)),)),
        Case(
            name="api-server-killed-going-home",
            row=1,
            rules=lambda s: (at("Recalled", AFTER, do.kill_api_server(s, 5.0)),),
            converges=75.0,
        ),
        Case(
            name="api-server-away-75s",
            row=2,
            rules=lambda s: (at("Cordoned", AFTER, do.fault_for(s, 75.0, forever)),),
            lends_within=170.0,
        ),
        Case(name="writes-500-8s", row=3, rules=lambda s: (at("Claimed", AFTER, do.fault_for(s, 8.0, *failing)),)),
        Case(
            name="writes-500-25s",
            row=3,
            rules=lambda s: (at("Relabelled", AFTER, do.fault_for(s, 25.0, *failing)),),
            lends_within=120.0,
        ),
        Case(name="429-retry-after-6s", row=4, rules=lambda s: (at("Claimed", AFTER, do.fault_for(s, 6.0, told)),)),
        Case(name="hot-writer", row=5, rules=lambda s: (at("Claimed", BEFORE, do.hot_writer(s, 15.0)),)),
        _refusals(409, 3),
        _refusals(422, 3),
    )


def _refusals(code: int, count: int) -> Case:
    rules = tuple(Rule(match=Match(label=label), act=Answer(code), times=count) for label in (*LABELS, *HOMEWARD))
    return Case(name=f"{code}-three-times-each", row=5, rules=lambda _: rules, converges=90.0, lends_within=110.0)
