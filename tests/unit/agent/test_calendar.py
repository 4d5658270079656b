import pytest

from meltguard.agent.calendar import zone_offset
from meltguard.core.units import Instant

ZONES = {"UTC": ("UTC", 0), "winter": ("Europe/Zurich", 3600), "a quarter": ("Asia/Kathmandu", 20_700)}


@pytest.mark.parametrize(("name", "seconds"), ZONES.values(), ids=ZONES)
def test_a_zone_runs_ahead_of_utc(name: str, seconds: int) -> None:
    offset = zone_offset(name)
    assert offset is not None
    assert offset(Instant(1_795_392_000.0)) == seconds


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "Europe", "/etc/localtime", "a\0b"])
def test_what_is_no_zone_is_none(name: str) -> None:
    assert zone_offset(name) is None
