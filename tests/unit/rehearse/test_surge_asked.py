from pathlib import Path
from typing import Any

import pytest

from meltguard.core.units import Seconds, TierName
from meltguard.errors import InvalidInput, Unavailable
from meltguard.rehearse.manifests import Manifests
from meltguard.rehearse.surge import Surge
from meltguard.rehearse.surge_asked import AskedRange, AskedSurge, capped, note_of, read_surge, surge_for, with_notes
from meltguard.rehearse.surge_csv import Columns
from support.objects import edited
from support.rehearsals import DAWN, POLICY, a_fleet, a_surge, some_manifests

RANGE = {"url": "http://127.0.0.1:9", "query": "up", "since": "2026-03-02T09:00:00Z", "until": "2026-03-02T10:00:00Z"}


def asked(**changes: Any) -> AskedSurge:
    given: dict[str, Any] = {"source": "step", "columns": Columns(), "prometheus": AskedRange(), **changes}
    return AskedSurge(**given)


def surge_of(manifests: Manifests, wanted: AskedSurge) -> Surge:
    return surge_for(manifests, a_fleet(), wanted, read_surge(wanted))


def test_a_shape_is_scaled_to_the_services_own_gpus_and_begins_on_a_monday(tmp_path: Path) -> None:
    surge = surge_of(some_manifests(tmp_path), asked())
    assert surge.peak == pytest.approx(2.5 * 8 / 6.0)
    assert surge.dawn == DAWN


def test_a_peak_is_a_rate_or_a_multiple(tmp_path: Path) -> None:
    manifests = some_manifests(tmp_path)
    assert surge_of(manifests, asked(peak="7")).peak == pytest.approx(7.0)
    assert surge_of(manifests, asked(peak="3x")).peak == pytest.approx(4.0)


def test_a_file_is_taken_as_recorded_and_drawn_out(tmp_path: Path) -> None:
    path = tmp_path / "surge.csv"
    path.write_text("time,rate\n0,2\n60,4\n")
    surge = surge_of(some_manifests(tmp_path), asked(source=str(path), tiers="free=75%,pro=0.25", then="10m"))
    assert surge.rates == {TierName("free"): (1.5, 3.0), TierName("pro"): (0.5, 1.0)}
    assert surge.until == 720.0
    assert surge.total(Seconds(700.0)) == 4.0


def test_what_was_assumed_of_the_tiers_is_noted(tmp_path: Path) -> None:
    manifests, policy = some_manifests(tmp_path), some_manifests(tmp_path).policy.policy
    [note] = note_of(asked(), read_surge(asked()), policy)
    assert "taken as free 90%, pro 10%" in note
    assert note_of(asked(tiers="free=1"), read_surge(asked()), policy) == ()
    assert with_notes(manifests, (note,)).notes == (note,)


def test_a_tiers_own_maximum_below_its_demand_is_noted(tmp_path: Path) -> None:
    policy = some_manifests(tmp_path, policy=edited(POLICY, {"spec.tiers.0.max": "60/m"})).policy.policy
    [note] = capped(policy, a_surge(), 1.0)
    assert note.startswith("tier free asks for more than its own max of 60/m in 33% of the record (up to 216/m)")
    assert capped(some_manifests(tmp_path).policy.policy, a_surge(), 1.0) == ()


CASES = {
    "no shape": ({"source": "tsunami"}, "--surge tsunami: is neither a file nor a shape"),
    "no file": ({"source": "gone.csv"}, "gone.csv: there is no such file"),
    "no time": ({"begins": "noon"}, "--begins 'noon': 'noon' is not a date and time with its zone"),
    "no zone": ({"begins": "2026-03-02T09:00:00"}, "--begins .* is not a date and time with its zone, such as"),
    "no duration": ({"then": "long"}, "--then 'long': 'long' is not a duration"),
    "too long": ({"then": "400h"}, "lasts 17 days, at most 14 are rehearsed"),
    "no peak": ({"peak": "high"}, "--peak 'high'"),
    "a peak of nothing": ({"peak": "0"}, "--peak '0': write requests a second"),
    "shares that are none": ({"tiers": "free=lots"}, "--tiers free= 'lots'"),
    "a share of too much": ({"tiers": "free=2"}, "a share is from 0 to 1"),
    "shares that do not add up": ({"tiers": "free=0.5"}, "the shares add up to 0.5"),
    "a query for nobody": ({"prometheus": AskedRange(query="up")}, "--query is for a Prometheus; name it"),
    "no query": ({"prometheus": AskedRange(url="http://x")}, "--prometheus needs --query as well"),
    "no range": ({"prometheus": AskedRange(url="http://x", query="up")}, "--prometheus needs --from as well"),
    "a range that is none": (
        {"prometheus": AskedRange(**{**RANGE, "until": RANGE["since"]})},
        "--to must be later than --from",
    ),
}


@pytest.mark.parametrize(("changes", "said"), CASES.values(), ids=CASES)
def test_a_wrong_flag_is_named_with_its_value(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        surge_of(some_manifests(tmp_path), asked(**changes))


def test_a_prometheus_that_does_not_answer_is_named_with_the_reason() -> None:
    with pytest.raises(Unavailable, match=r"http://127.0.0.1:9 does not answer \(.*refused\); check --prometheus"):
        read_surge(asked(prometheus=AskedRange(**RANGE)))
