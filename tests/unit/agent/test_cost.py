import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.cost import DEFAULT_COST, MAX_IMAGES, Cost, cost_in_body, cost_in_headers

BODIES = {
    "nothing named": ({}, 1, 1.0),
    "several images": ({"n": 4}, 4, 4.0),
    "size as text": ({"size": "512x512"}, 1, 0.25),
    "width and height": ({"width": 2048, "height": 1024}, 1, 2.0),
    "width beats size": ({"size": "512x512", "width": 1024}, 1, 0.5),
    "steps": ({"steps": 15}, 1, 0.5),
    "all of it": ({"n": 2, "size": "512x1024", "steps": 60}, 2, 2.0),
    "numbers as text": ({"n": "3"}, 3, 3.0),
    "auto": ({"size": "auto", "n": None}, 1, 1.0),
    "negative": ({"n": -5, "steps": -1, "width": -1}, 1, 1.0),
    "not a number": ({"n": float("nan"), "steps": float("inf")}, 1, 1.0),
    "a truth is no number": ({"n": True}, 1, 1.0),
    "absurd": ({"n": 10**30}, MAX_IMAGES, float(MAX_IMAGES)),
    "a list": ({"n": [1, 2]}, 1, 1.0),
}


@pytest.mark.parametrize(("fields", "images", "units"), BODIES.values(), ids=BODIES)
def test_a_body_names_its_cost(fields: dict[str, object], images: int, units: float) -> None:
    cost = cost_in_body(json.dumps(fields).encode())
    assert (cost.images, cost.units) == (images, units)


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b'{"n": 2', b"[" * 60_000, b"\xff\xfe"])
def test_a_body_that_says_nothing_costs_the_default(body: bytes) -> None:
    assert cost_in_body(body) == DEFAULT_COST


def test_headers_name_the_cost() -> None:
    headers = {"x-meltguard-images": "2", "x-meltguard-size": "512X512", "x-meltguard-steps": "60"}
    assert cost_in_headers(headers) == Cost(images=2, width=512, height=512, steps=60)


def test_no_headers_name_no_cost() -> None:
    assert cost_in_headers({"content-type": "application/json"}) is None


@settings(deadline=None)
@given(
    body=st.binary(max_size=200)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps({"n": value, "size": value, "steps": value}).encode()
    )
)
def test_any_body_has_a_bounded_cost(body: bytes) -> None:
    cost = cost_in_body(body)
    assert 1 <= cost.images <= MAX_IMAGES
    assert 0 < cost.units < 1e9


@given(
    st.dictionaries(
        st.sampled_from(["n", "size", "width", "height", "steps", "prompt"]),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.integers()),
    )
)
def test_both_parsers_price_alike(members: dict[str, object]) -> None:
    body = json.dumps(members)
    assert cost_in_body(body.encode()) == cost_in_body(body.encode("utf-16"))
