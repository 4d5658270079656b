"""The comparison behind `make bench-law`: cases, rivals and what counts as a tie."""

from dataclasses import replace

import pytest

from bench.bench_law import AIMD, LAWS, ONOFF, OURS, STATIC, Figures, compared, left_for_free, ran
from bench.law_cases import CLAIMED, FREE, cases, stepped, textbook
from meltguard.core.units import Seconds
from meltguard.sim.changes import Loan
from meltguard.sim.recorded import traces_beside_checkout

FIGURES = Figures(
    busy=0.98, free_images=1000.0, paid_wait=3.0, turns=0.0, free_refused=0.0, paid_refused=0.0, free_wait=9.0
)


def missed(ours: Figures, theirs: Figures) -> set[str]:
    rows = compared(textbook(), {OURS: ours, **dict.fromkeys((AIMD, ONOFF, STATIC), theirs)})
    return {row["name"].partition(" ")[0] for row in rows if not row["met"]}


TIES = {
    "the same": ({}, set()),
    "two per cent less": ({"busy": 0.961, "free_images": 981.0}, set()),
    "three per cent less": ({"busy": 0.95, "free_images": 970.0}, {"busyShare", "freeImages"}),
    "waits that both keep the target": ({"paid_wait": 3.9}, set()),
    "a wait beyond the target": ({"paid_wait": 4.1}, {"paidWaitP99"}),
    "a change of direction in every run": ({"turns": 1.0}, {"directionChanges"}),
}


@pytest.mark.parametrize(("ours", "lost"), TIES.values(), ids=TIES)
def test_leads_and_ties(ours: dict[str, float], lost: set[str]) -> None:
    assert missed(replace(FIGURES, **ours), FIGURES) == lost


def test_the_traces_add_their_shapes() -> None:
    assert [case.name for case in cases(None)] == ["reference", "step"]
    traces = traces_beside_checkout()
    if traces is None:
        pytest.skip("no recorded traces at ../shared/traces beside this checkout")
    assert [case.name for case in cases(traces)] == ["reference", "step", "flash crowd", "viral"]


def test_nodes_are_claimed_half_a_minute_after_demand_exceeds_the_gpus() -> None:
    case = stepped()
    first = next(at for at in range(3600) if case.load(Seconds(float(at))) > case.gpus)
    claims = [change.claimed for change in case.changes(1) if isinstance(change, Loan)]
    assert claims == [first + CLAIMED, first + CLAIMED + 2]


def test_the_static_limit_knows_the_surge_beforehand() -> None:
    assert left_for_free(textbook()) == pytest.approx(64 / 6 - 6)


@pytest.mark.parametrize("law", LAWS)
def test_every_law_meets_the_same_users(law: str) -> None:
    """And each has its own way with the lowest tier's limit."""
    found = ran(replace(textbook(), until=Seconds(400.0)), law, 1)
    assert sum(one.offered.get(FREE, 0.0) for one in found.samples) == pytest.approx(3_900, rel=0.05)
    assert any(FREE in one.rates for one in found.samples)
    assert {tier for one in found.samples for tier in one.rates} == {FREE}
