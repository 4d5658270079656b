"""A recall on a GPUPool: read strictly, and of no effect where it cannot be read."""

import pytest

from meltguard.api.recall import RECALL_ANNOTATION, RecallText, read_recall, write_recall
from meltguard.api.to_core import read_pool
from meltguard.errors import InvalidInput
from support.objects import a_pool_object

ORDER = RecallText(nodes=("gpu-1",), before="2026-11-23T10:00:00Z", reason="a deadline", by="ada")


def test_an_order_survives_being_written() -> None:
    read = read_recall(write_recall(ORDER))
    assert read.nodes == {"gpu-1"}
    assert read.before == 1_795_428_000.0
    assert read.reason == "recalled by ada: a deadline"


def test_no_node_means_all() -> None:
    assert read_recall('{"before": "2026-11-23T10:00:00Z"}').nodes == frozenset()


WRONG = {
    "no JSON": "now",
    "no moment": "{}",
    "a moment without a zone": '{"before": "2026-11-23T10:00:00"}',
    "nodes that are no list": '{"before": "2026-11-23T10:00:00Z", "nodes": "gpu-1"}',
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_says_how_to_write_it(text: str) -> None:
    with pytest.raises(InvalidInput, match="kubectl meltguard recall"):
        read_recall(text)


def test_a_pool_with_an_unreadable_recall_is_read_and_says_so() -> None:
    body = a_pool_object()
    body["metadata"]["annotations"] = {RECALL_ANNOTATION: "now"}
    found = read_pool(body)
    assert found.recall is None
    assert RECALL_ANNOTATION in found.recall_problem
    assert found.pool.lending is not None
