"""PrometheusMetrics against servers that lie, hang and stammer: an answer with a problem, in time, for nobody else."""

import asyncio
import re
import threading

import pytest
from aiohttp import web

from meltguard.adapters import prometheus
from meltguard.adapters.prometheus import PrometheusMetrics
from meltguard.adapters.prometheus_answer import Bounds, PrometheusSource
from meltguard.clock import SystemClock
from meltguard.core.policy import Signal, SignalKind
from meltguard.core.units import Seconds
from support.eventually import soon
from support.fake_apiserver import hang, serving
from support.promql import HEAT, OWN, Handler, a_signal, always, heat, metrics_from, vector

BAD: dict[str, tuple[Handler, str]] = {
    "a page": (always("<html>sign in</html>"), "does not answer as Prometheus does.*check the source's url"),
    "nothing": (always(""), "does not answer as Prometheus does"),
    "JSON of something else": (always({"ok": True}), "does not answer as Prometheus does"),
    "a list": (always([1, 2]), "does not answer as Prometheus does"),
    "our credentials are refused": (always("Forbidden", 403), "refuses our credentials"),
    "the query is wrong": (always({"status": "error", "error": "parse error at 7"}, 400), "parse error at 7"),
    "it is overloaded": (always({"status": "error", "error": "query timed out"}, 503), "query timed out"),
    "a matrix": (always({"status": "success", "data": {"resultType": "matrix", "result": []}}), "gives a matrix"),
    "a vector that is none": (
        always({"status": "success", "data": {"resultType": "vector", "result": [{"metric": 7}]}}),
        "a vector that is none",
    ),
    "a redirect": (always("", 302), "does not answer as Prometheus does"),
}


@pytest.mark.parametrize(("handler", "said"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("signal", [HEAT, OWN], ids=["preset", "query"])
async def test_whatever_comes_is_an_answer_with_a_problem(handler: Handler, said: str, signal: Signal) -> None:
    async with metrics_from(handler) as metrics:
        answer = await metrics.read("default", signal)
    assert answer.samples == ()
    assert re.search(said, answer.problem)


async def test_an_unknown_source_is_named_with_those_that_are_known() -> None:
    metrics = PrometheusMetrics({"a": PrometheusSource(url="http://127.0.0.1:9")}, SystemClock())
    assert "'thanos'" in (await metrics.read("thanos", HEAT)).problem
    assert "has: a" in (await metrics.read("thanos", HEAT)).problem
    metrics.close()


async def test_a_server_that_is_not_there_is_named_with_the_reason() -> None:
    metrics = PrometheusMetrics({"default": PrometheusSource(url="http://127.0.0.1:9")}, SystemClock())
    problem = (await metrics.read("default", HEAT)).problem
    assert "http://127.0.0.1:9 does not answer" in problem
    assert "refused" in problem
    metrics.close()


async def never(request: web.Request) -> web.StreamResponse:
    await hang(request)
    raise AssertionError


async def drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("handler", [never, drip], ids=["silent", "dripping"])
async def test_a_hanging_server_costs_the_limit_and_holds_up_no_other(handler: Handler) -> None:
    async with serving(handler) as hanging, serving(always(vector(*heat(64.0)))) as healthy:
        sources = {"dead": PrometheusSource(url=hanging), "default": PrometheusSource(url=healthy)}
        metrics = PrometheusMetrics(sources, SystemClock(), bounds=Bounds(answer=Seconds(4.0)))
        asked = [a_signal(SignalKind.QUERY, query=f"q{n}", freshness_query="f") for n in range(80)]
        dead = [asyncio.create_task(metrics.read("dead", signal)) for signal in asked]
        assert len((await metrics.read("default", HEAT)).samples) == 1
        assert not any(task.done() for task in dead)
        hung = [thread for thread in threading.enumerate() if thread.name.startswith("prometheus-dead")]
        assert 1 <= len(hung) <= prometheus.THREADS
        async with soon():  # one after the other on so few threads would take a minute
            problems = {answer.problem for answer in await asyncio.gather(*dead)}
        assert all("gave no answer within" in text or "too slowly" in text for text in problems)
        assert len((await metrics.read("default", HEAT)).samples) == 1
        metrics.close()


async def test_an_endless_body_is_not_read_to_its_end() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 65_536)

    async with metrics_from(flood, Bounds(largest_body=1_000_000)) as metrics:
        assert "answers more than 1 MB" in (await metrics.read("default", HEAT)).problem


async def test_a_query_that_matches_too_much_says_so() -> None:
    body = vector(*(({"i": str(i)}, 1) for i in range(4)))
    async with metrics_from(always(body), Bounds(most_series=3)) as metrics:
        assert "matches 4 series, at most 3 are read" in (await metrics.read("default", OWN)).problem
