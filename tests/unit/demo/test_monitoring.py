"""A query that found only NaN, or was refused, has found nothing."""

from typing import Any

import pytest

from meltguard.demo.monitoring import has_numbers


def answer(*values: str) -> dict[str, Any]:
    return {"status": "success", "data": {"result": [{"metric": {}, "values": [[1.0, one] for one in values]}]}}


@pytest.mark.parametrize("values", [("0",), ("NaN", "0.5"), ("+Inf",)], ids=str)
def test_a_number_is_data(values: tuple[str, ...]) -> None:
    assert has_numbers(answer(*values))


@pytest.mark.parametrize(
    "body",
    [
        answer("NaN", "NaN"),
        {"status": "success", "data": {"result": []}},
        {"status": "error", "errorType": "bad_data", "error": "parse error"},
    ],
    ids=["only NaN", "no series", "refused"],
)
def test_nothing_is_no_data(body: dict[str, Any]) -> None:
    assert not has_numbers(body)
