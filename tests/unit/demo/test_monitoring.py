"""What the demo asks its Prometheus: whether queries find anything, and who had a card."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from meltguard.core.units import Instant
from meltguard.demo.monitoring import has_numbers, pod_on
from meltguard.errors import Unavailable


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


@asynccontextmanager
async def prometheus(*metrics: dict[str, str], asked: list[str]) -> AsyncIterator[str]:
    """One that finds these series whatever it is asked; its address."""

    async def found(request: web.Request) -> web.Response:
        asked.append(request.query["query"])
        return web.json_response({"data": {"result": [{"metric": one, "value": [1.0, "80"]} for one in metrics]}})

    app = web.Application()
    app.router.add_get("/api/v1/query", found)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_the_pod_on_a_card_is_the_one_that_its_exporter_told() -> None:
    asked: list[str] = []
    async with prometheus({"pod": "image-gen-7"}, asked=asked) as url:
        assert await pod_on(url, ("gpu-03", 5), Instant(1000.0)) == "image-gen-7"

    assert 'Hostname="gpu-03",gpu="5"' in asked[0]


async def test_a_card_that_nobody_told_of_has_no_pod() -> None:
    async with prometheus(asked=[]) as url:
        assert await pod_on(url, ("gpu-03", 5), Instant(1000.0)) == ""


async def test_a_prometheus_that_does_not_answer_is_said() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await pod_on("http://127.0.0.1:9", ("gpu-03", 5), Instant(1000.0))
