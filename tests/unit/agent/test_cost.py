"""Images, size and steps become image units."""

import pytest

from meltguard.agent.cost import DEFAULT_COST, MAX_IMAGES, Cost, cost_in_headers, cost_of
from meltguard.agent.wanted import Wanted

WANTED = {
    "nothing named": (Wanted(), 1, 1.0),
    "several images": (Wanted(images=4), 4, 4.0),
    "smaller": (Wanted(width=512, height=512), 1, 0.25),
    "one side": (Wanted(width=512), 1, 0.5),
    "steps": (Wanted(steps=15), 1, 0.5),
    "all of it": (Wanted(images=2, width=512, height=1024, steps=60), 2, 2.0),
    "absurd": (Wanted(images=10**6), MAX_IMAGES, float(MAX_IMAGES)),
}


@pytest.mark.parametrize(("wanted", "images", "units"), WANTED.values(), ids=WANTED)
def test_what_is_wanted_has_a_cost(wanted: Wanted, images: int, units: float) -> None:
    cost = cost_of(wanted)
    assert (cost.images, cost.units) == (images, units)


def test_nothing_named_is_the_reference_image() -> None:
    assert cost_of(Wanted()) == DEFAULT_COST


def test_headers_name_the_cost() -> None:
    headers = {"x-meltguard-images": "2", "x-meltguard-size": "512X512", "x-meltguard-steps": "60"}
    assert cost_in_headers(headers) == Cost(images=2, width=512, height=512, steps=60)


def test_no_headers_name_no_cost() -> None:
    assert cost_in_headers({"content-type": "application/json"}) is None
