"""How many images of what size and how many steps a request names, in the words of the usual image servers.

Read from what the body is, not from what its Content-Type says: a server may read JSON whatever the header is. Where
several names are there, or body and query both name something, the largest counts: nobody knows which one is read.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec

MAX_SIDE: Final = 16_384
MAX_STEPS: Final = 1_000
MOST: Final = 1_000_000  # of anything that is counted
MOST_FIELDS: Final = 1_000  # of a form
LONGEST_VALUE: Final = 32  # characters of a form's field that can be a number

IMAGES: Final = (
    "n",
    "num_images",
    "num_outputs",
    "num_images_per_prompt",
    "samples",
)  # OpenAI, fal, Replicate, diffusers
STEPS: Final = ("steps", "num_inference_steps", "sampling_steps")


class Wanted(NamedTuple):
    """What is asked for; 0 where nothing is named."""

    images: int = 0
    width: int = 0
    height: int = 0
    steps: int = 0


NOTHING: Final = Wanted()


class Members(msgspec.Struct):
    """What names a cost in a JSON body; each may be anything."""

    n: Any = None
    num_images: Any = None
    num_outputs: Any = None
    num_images_per_prompt: Any = None
    samples: Any = None
    batch_size: Any = None  # a batch is made n_iter times (Automatic1111)
    n_iter: Any = None
    size: Any = None
    width: Any = None
    height: Any = None
    steps: Any = None
    num_inference_steps: Any = None
    sampling_steps: Any = None
    prompt: msgspec.Raw = msgspec.Raw(b"")  # text, or ComfyUI's graph


_PLAIN: Final = msgspec.json.Decoder(Members)  # reads these members and builds nothing of the others
_OTHERS: Final = frozenset(Members.__struct_fields__) - {"prompt"}


def wanted_in(body: bytes, content_type: str, query: bytes = b"") -> Wanted:
    """What a whole body and the query name.

    >>> wanted_in(b'{"n": 2, "size": "1024x512"}', "image/png", b"steps=15")
    Wanted(images=2, width=1024, height=512, steps=15)
    """
    in_query = _in_pairs(_pairs(query)) if b"=" in query else NOTHING
    in_body = _in_json(body)
    if in_body is None:
        in_body = _in_form(body, content_type)
    if in_query is NOTHING:
        return in_body
    return Wanted(*map(max, in_body, in_query))


def sides(value: object) -> tuple[int, int]:
    """The sides in `1024x768`; 0 where there is none.

    >>> sides("1024X768"), sides("auto")
    ((1024, 768), (0, 0))
    """
    if value is None:
        return 0, 0
    width, _, height = str(value).lower().partition("x")
    return whole(width, MAX_SIDE), whole(height, MAX_SIDE)


def whole(value: object, most: int) -> int:
    """A whole number from 1 to `most`; 0 where there is none."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        number = int(float(value)) if not isinstance(value, int) else value
    except (ValueError, OverflowError):
        return 0
    return min(number, most) if number >= 1 else 0


def _in_json(body: bytes) -> Wanted | None:
    """What a JSON object names; None where the body is none."""
    try:
        members = _PLAIN.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return _in_other_json(body)
    return _named(members)


def _in_other_json(body: bytes) -> Wanted | None:
    """What the quick parser refuses: a server may take UTF-16 or NaN for JSON too."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(members, dict):
        return None
    read = Members()
    for name in _OTHERS & members.keys():
        setattr(read, name, members[name])
    graph = members.get("prompt")
    return _larger(_named(read), _in_graph(graph)) if isinstance(graph, dict) else _named(read)


def _named(one: Members) -> Wanted:
    width, height = sides(one.size)
    wanted = Wanted(
        max(_largest(one, IMAGES), _batches(one)),
        whole(one.width, MAX_SIDE) or width,
        whole(one.height, MAX_SIDE) or height,
        min(_largest(one, STEPS), MAX_STEPS),
    )
    if bytes(memoryview(one.prompt)[:1]) != b"{":
        return wanted
    try:
        graph = msgspec.json.decode(one.prompt)
    except (msgspec.DecodeError, RecursionError):
        return wanted
    return _larger(wanted, _in_graph(graph))


def _largest(one: Members, names: Iterable[str]) -> int:
    return max(whole(getattr(one, name), MOST) for name in names)


def _batches(one: Members) -> int:
    size, times = whole(one.batch_size, MOST), whole(one.n_iter, MOST)
    return (size or 1) * (times or 1) if size or times else 0


def _in_graph(graph: Mapping[str, Any]) -> Wanted:
    """ComfyUI: each node that makes an empty latent names a batch and its sides, samplers name steps."""
    images = width = height = steps = 0
    for inputs in _inputs(graph):
        if "width" in inputs and "height" in inputs and "batch_size" in inputs:
            images += whole(inputs["batch_size"], MOST)
            width, height = max(width, whole(inputs["width"], MAX_SIDE)), max(height, whole(inputs["height"], MAX_SIDE))
        steps = max(steps, whole(inputs.get("steps"), MAX_STEPS))
    return Wanted(images, width, height, steps)


def _inputs(graph: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for node in graph.values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if isinstance(inputs, dict):
            yield inputs


def _in_form(body: bytes, content_type: str) -> Wanted:
    kind = content_type.lower()
    if kind.startswith("multipart/"):
        return _in_pairs(_parts(body, content_type))
    if kind.startswith("application/x-www-form-urlencoded"):
        return _in_pairs(_pairs(body))
    return NOTHING  # a picture, say: nothing in it names anything


def _pairs(text: bytes) -> Iterable[tuple[str, str]]:
    try:
        return parse_qsl(text.decode("latin-1"), max_num_fields=MOST_FIELDS)
    except ValueError:
        return ()


def _parts(body: bytes, content_type: str) -> Iterator[tuple[str, str]]:
    """The short fields of a multipart form; files name nothing."""
    _, found, boundary = content_type.partition("boundary=")
    mark = b"--" + boundary.split(";")[0].strip().strip('"').encode("latin-1", "replace")
    for part in body.split(mark)[1:] if found and len(mark) > len(b"--") else ():
        head, _, value = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0]
        if name and b"filename" not in head and len(value) <= LONGEST_VALUE:
            yield name.decode("latin-1"), value.decode("latin-1").strip()


def _in_pairs(pairs: Iterable[tuple[str, str]]) -> Wanted:
    """What a form's fields name; a field that comes twice counts as each of both."""
    found = NOTHING
    for name, value in pairs:
        if name in _OTHERS:
            one = Members()
            setattr(one, name, value)
            found = _larger(found, _named(one))
    return found


def _larger(one: Wanted, other: Wanted) -> Wanted:
    return Wanted(*map(max, one, other))
