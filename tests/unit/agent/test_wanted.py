"""What a request names is read from what its body is, in the words of the usual image servers."""

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.agent.wanted import MAX_SIDE, MAX_STEPS, MOST, Wanted, wanted_in

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xyz"
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "model": ["4", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 768, "height": 512, "batch_size": 2}},
    "6": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 3}},
    "9": {"class_type": "SaveImage"},
    "odd": None,
}
BODIES = {
    "nothing named": ({}, Wanted()),
    "OpenAI": ({"n": 4, "size": "512x256"}, Wanted(4, 512, 256)),
    "width beats size": ({"size": "512x512", "width": 1024}, Wanted(0, 1024, 512)),
    "diffusers": ({"num_images_per_prompt": 3, "num_inference_steps": 25}, Wanted(3, 0, 0, 25)),
    "fal": ({"num_images": 3}, Wanted(3)),
    "Replicate": ({"num_outputs": 4}, Wanted(4)),
    "Stability": ({"samples": 2, "steps": 40}, Wanted(2, 0, 0, 40)),
    "Automatic1111": ({"batch_size": 4, "n_iter": 3, "steps": 10}, Wanted(12, 0, 0, 10)),
    "one batch": ({"n_iter": 5}, Wanted(5)),
    "the largest of several": ({"n": 1, "num_images": 9, "steps": 1, "num_inference_steps": 90}, Wanted(9, 0, 0, 90)),
    "ComfyUI": ({"prompt": GRAPH, "client_id": "x"}, Wanted(5, 768, 512, 20)),
    "a prompt in words": ({"prompt": '{"n": 9}', "n": 2}, Wanted(2)),
    "numbers as text": ({"n": "3", "steps": "15"}, Wanted(3, 0, 0, 15)),
    "auto": ({"size": "auto", "n": None}, Wanted()),
    "negative": ({"n": -5, "steps": -1, "width": -1}, Wanted()),
    "not a number": ({"n": float("nan"), "steps": float("inf")}, Wanted()),
    "a graph beside what is no number": ({"n": float("nan"), "prompt": GRAPH}, Wanted(5, 768, 512, 20)),
    "a truth is no number": ({"n": True}, Wanted()),
    "absurd": ({"n": 10**30, "steps": 10**30, "width": 10**30}, Wanted(MOST, MAX_SIDE, 0, MAX_STEPS)),
    "a list": ({"n": [1, 2]}, Wanted()),
}


@pytest.mark.parametrize("content_type", [JSON, "image/png", "text/plain", "", MULTIPART])
@pytest.mark.parametrize(("fields", "wanted"), BODIES.values(), ids=BODIES)
def test_json_is_read_whatever_its_header_says(fields: dict[str, object], wanted: Wanted, content_type: str) -> None:
    assert wanted_in(json.dumps(fields).encode(), content_type) == wanted


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_json_in_another_encoding_is_read(encoding: str) -> None:
    assert wanted_in(json.dumps({"n": 7}).encode(encoding), JSON) == Wanted(7)


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b'{"n": 2', b"[" * 60_000, b"\xff\xfe", b"\x89PNG\r\n"])
def test_a_body_that_says_nothing_names_nothing(body: bytes) -> None:
    assert wanted_in(body, JSON) == Wanted()


def part(name: str, value: str, more: str = "") -> str:
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'


def test_the_fields_of_forms_are_read_and_files_are_not() -> None:
    form = part("n", "10") + part("image", "n=99", '; filename="a.png"') + part("prompt", "x" * 99) + "--xyz--\r\n"
    assert wanted_in(form.encode(), MULTIPART) == Wanted(10)
    assert wanted_in(form.encode(), 'multipart/form-data; boundary="xyz"; charset=utf-8') == Wanted(10)
    assert wanted_in(form.encode(), "multipart/form-data") == Wanted()
    assert wanted_in(urlencode({"num_images": 4, "size": "512x512"}).encode(), FORM) == Wanted(4, 512, 512)
    assert wanted_in(b"n=1&n=8&n=2", FORM) == Wanted(8)


def test_what_the_query_names_counts_where_it_is_more() -> None:
    assert wanted_in(b'{"n": 2, "steps": 50}', JSON, b"n=6&steps=10") == Wanted(6, 0, 0, 50)
    assert wanted_in(b"", "", b"n=3") == Wanted(3)
    assert wanted_in(b"", "", b"a=b&n") == Wanted()


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["inputs", "steps", "width", "n", "x"]), inner),
    max_leaves=8,
)
names = st.sampled_from(["n", "size", "steps", "width", "batch_size", "n_iter", "prompt", "samples"])


@settings(deadline=None)
@given(
    body=st.binary(max_size=200) | st.dictionaries(names, anything).map(lambda told: json.dumps(told).encode()),
    content_type=st.sampled_from([JSON, FORM, MULTIPART, "multipart/x; boundary="]),
    query=st.binary(max_size=40),
)
def test_any_request_names_bounded_numbers(body: bytes, content_type: str, query: bytes) -> None:
    wanted = wanted_in(body, content_type, query)
    assert all(0 <= number <= 100 * MOST * MOST for number in wanted)
    assert max(wanted.width, wanted.height) <= MAX_SIDE
    assert wanted.steps <= MAX_STEPS


@given(st.dictionaries(names, anything))
def test_both_parsers_read_alike(members: dict[str, object]) -> None:
    body = json.dumps(members)
    assert wanted_in(body.encode(), JSON) == wanted_in(body.encode("utf-16"), JSON)
