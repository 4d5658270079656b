"""PrometheusMetrics: what it makes of answers, and whom it asks how. Trouble is in test_prometheus_trouble.py."""

import asyncio
import re
from pathlib import Path

import pytest
from aiohttp import web

from meltguard.clock import SystemClock
from meltguard.core.metrics import MetricSample
from meltguard.core.policy import SignalKind
from meltguard.core.units import NodeName
from support.fake_apiserver import serving
from support.promql import HEAT, OWN, Handler, a_signal, always, heat, metrics_from, vector


async def test_a_value_comes_with_its_node_and_the_age_of_its_sample() -> None:
    async with metrics_from(always(vector(*heat(81.5, age=42.0)))) as metrics:
        answer = await metrics.read("default", HEAT)
    assert answer.problem == ""
    (sample,) = answer.samples
    assert (sample.node, sample.value, round(sample.age)) == ("n1", 81.5, 42)


async def test_nothing_found_is_nothing_and_never_zero() -> None:
    async with metrics_from(always(vector())) as metrics:
        answer = await metrics.read("default", HEAT)
    assert (answer.samples, answer.problem) == ((), "")


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "9223372036854775794", "1e308", "-40000", "12abc", ""])
async def test_a_value_that_is_none_is_dropped_and_counted(value: str) -> None:
    body = vector(*heat(value), *heat(64.0, UUID="GPU-2"))
    async with metrics_from(always(body)) as metrics:
        answer = await metrics.read("default", HEAT)
        assert [sample.value for sample in answer.samples] == [64.0]
        assert metrics.dropped["default"] == 1


async def test_a_value_without_the_time_it_was_taken_is_left_out() -> None:
    value, taken = heat(64.0)
    other = ({**taken[0], "UUID": "GPU-2"}, taken[1])
    async with metrics_from(always(vector(value, other))) as metrics:
        assert (await metrics.read("default", HEAT)).samples == ()


async def test_histograms_and_missing_labels_do_not_hurt() -> None:
    body = vector(*heat(64.0))
    body["data"]["result"].append({"metric": {}, "histogram": [1.0, {"count": "1"}]})
    body["data"]["result"].append({"metric": {"meltguard_taken": "1"}, "value": [1.0, "2"]})
    async with metrics_from(always(body)) as metrics:
        assert len((await metrics.read("default", HEAT)).samples) == 1


async def test_warnings_make_an_answer_untrusted() -> None:
    body = vector(*heat(64.0), warnings=["store gateway b is gone"])
    async with metrics_from(always(body)) as metrics:
        assert "store gateway b is gone" in (await metrics.read("default", HEAT)).problem


@pytest.mark.parametrize("skew", [-600.0, 600.0])
async def test_another_clock_is_found_out(skew: float) -> None:
    at = SystemClock().now() + skew
    async with metrics_from(always(vector(*heat(64.0, at=at), at=at))) as metrics:
        assert re.search(r"clock is (5[89]|60|61)\d s off", (await metrics.read("default", HEAT)).problem)


async def test_a_clock_a_little_off_is_tolerated() -> None:
    at = SystemClock().now() + 10.0
    async with metrics_from(always(vector(*heat(64.0, at=at, age=5.0), at=at))) as metrics:
        answer = await metrics.read("default", HEAT)
    assert answer.problem == ""
    assert round(answer.samples[0].age) == 5


async def test_policies_that_ask_the_same_ask_once() -> None:
    asked = 0

    async def count(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)
        return web.json_response(vector(*heat(64.0)))

    async with metrics_from(count) as metrics:
        named = [a_signal(name=f"policy-{number}") for number in range(20)]
        answers = await asyncio.gather(*(metrics.read("default", signal) for signal in named))
        assert all(len(answer.samples) == 1 for answer in answers)
        assert asked == 1
        await metrics.read("default", a_signal(SignalKind.GPU_UTILIZATION))
        assert asked == 2
        await asyncio.sleep(1.1)
        await metrics.read("default", HEAT)
        assert asked == 3


async def test_one_who_gives_up_waiting_takes_the_answer_from_nobody() -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.json_response(vector(*heat(64.0)))

    async with metrics_from(slow) as metrics:
        first = asyncio.create_task(metrics.read("default", HEAT))
        second = asyncio.create_task(metrics.read("default", HEAT))
        await asyncio.sleep(0.1)
        first.cancel()
        assert len((await second).samples) == 1


async def test_the_token_is_read_for_each_query_and_sent_with_the_tenant(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    seen: list[tuple[str, str]] = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers["Authorization"], request.headers["X-Scope-OrgID"]))
        return web.json_response(vector())

    async with metrics_from(note, bearer_token_file=str(token), headers={"X-Scope-OrgID": "gpu"}) as metrics:
        await metrics.read("default", HEAT)
        token.write_text("second")
        await metrics.read("default", a_signal(SignalKind.GPU_UTILIZATION))
        token.unlink()
        problem = (await metrics.read("default", OWN)).problem
    assert seen == [("Bearer first", "gpu"), ("Bearer second", "gpu")]
    assert f"cannot be read from {token}" in problem


async def test_a_redirect_leads_our_token_nowhere(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    led: list[str] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        led.append(request.path)
        return web.json_response(vector())

    async with serving(elsewhere) as url:

        async def redirect(_: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": url})

        async with metrics_from(redirect, bearer_token_file=str(token)) as metrics:
            assert "does not answer as Prometheus does (HTTP 307" in (await metrics.read("default", HEAT)).problem
    assert led == []


async def test_the_environments_proxy_does_not_get_our_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with metrics_from(always(vector(*heat(64.0)))) as metrics:
        assert (await metrics.read("default", HEAT)).problem == ""


def by_query(**answers: object) -> Handler:
    """A Prometheus that knows these two questions."""

    async def answer(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        fresh = str(form["query"]).startswith("min(timestamp")
        return web.json_response(answers["fresh"] if fresh else answers["value"])

    return answer


async def test_an_own_query_brings_its_own_freshness() -> None:
    now = SystemClock().now()
    value = vector(({"node": "n1"}, 7), ({}, 8), at=now)
    async with metrics_from(by_query(value=value, fresh=vector(({}, now - 33.0), at=now))) as metrics:
        answer = await metrics.read("default", OWN)
    assert answer.problem == ""
    assert [(sample.node, sample.value) for sample in answer.samples] == [(NodeName("n1"), 7.0), (None, 8.0)]
    assert {round(sample.age) for sample in answer.samples} == {33}


async def test_an_own_query_may_be_a_scalar() -> None:
    now = SystemClock().now()
    scalar = {"status": "success", "data": {"resultType": "scalar", "result": [now, "4.5"]}}
    async with metrics_from(by_query(value=scalar, fresh=vector(({}, now - 3.0), at=now))) as metrics:
        (sample,) = (await metrics.read("default", OWN)).samples
    assert (sample.node, sample.value) == (None, 4.5)
    assert isinstance(sample, MetricSample)


async def test_an_own_query_without_freshness_is_not_believed() -> None:
    now = SystemClock().now()
    async with metrics_from(by_query(value=vector(({}, 7), at=now), fresh=vector(at=now))) as metrics:
        assert "freshnessQuery gives no time" in (await metrics.read("default", OWN)).problem
        without = a_signal(SignalKind.QUERY, query="queue_depth")
        assert "freshnessQuery is missing" in (await metrics.read("default", without)).problem


async def test_the_agents_own_wait_is_not_asked_of_prometheus() -> None:
    async with metrics_from(always(vector())) as metrics:
        answer = await metrics.read("default", a_signal(SignalKind.AGENT_WAIT))
    assert "does not come from Prometheus" in answer.problem
