"""What every Metrics does: the fake, PromQL over a socket, and PromQL to the real Prometheus."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from meltguard.adapters.prometheus import PrometheusMetrics
from meltguard.adapters.prometheus_answer import PrometheusSource
from meltguard.clock import SystemClock
from meltguard.core.metrics import MetricAnswer, MetricSample
from meltguard.core.policy import Signal, SignalKind, SignalUse
from meltguard.core.units import NodeName, Seconds
from meltguard.localcluster.plane import Plane
from meltguard.ports import Metrics
from support.eventually import soon
from support.fake_apiserver import serving
from support.fakes import FakeMetrics

HEAT = Signal(name="heat", kind=SignalKind.GPU_TEMPERATURE, use=SignalUse.DRIVE, calm=70.0, target=80.0, critical=88.0)
TIMES = 20.0


@dataclass(frozen=True)
class Setting:
    """Metrics, and a way to have one GPU of node n1 measured; None takes the measurement away."""

    metrics: Metrics
    measure: Callable[[float | None], Awaitable[None]]


@asynccontextmanager
async def faked(_: object) -> AsyncIterator[Setting]:
    metrics = FakeMetrics()

    async def measure(value: float | None) -> None:
        await asyncio.sleep(0)
        samples = [] if value is None else [MetricSample(node=NodeName("n1"), value=value, age=Seconds(1.0))]
        metrics.tell("heat", *samples)

    yield Setting(metrics, measure)


@asynccontextmanager
async def over_a_socket(_: object) -> AsyncIterator[Setting]:
    result: list[Any] = []

    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0)
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})

    async def measure(value: float | None) -> None:
        await asyncio.sleep(0)
        result.clear()
        if value is not None:
            now, labels = SystemClock().now(), {"UUID": "GPU-1", "Hostname": "n1"}
            result.append({"metric": {**labels, "meltguard_spelling": "0"}, "value": [now, str(value)]})
            result.append({"metric": {**labels, "meltguard_taken": "0"}, "value": [now, str(now - 1.0)]})

    async with serving(answer) as url:
        metrics = PrometheusMetrics({"default": PrometheusSource(url=url)}, SystemClock())
        yield Setting(metrics, measure)
        metrics.close()


@asynccontextmanager
async def real(plane: Plane) -> AsyncIterator[Setting]:
    lines: list[str] = []

    async def exporter(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0)
        return web.Response(text="".join(lines))

    async def measure(value: float | None) -> None:
        await asyncio.sleep(0)
        lines[:] = [] if value is None else [f'DCGM_FI_DEV_GPU_TEMP{{UUID="GPU-1",Hostname="n1"}} {value}\n']

    async with serving(exporter) as address:
        url = URL(address)
        targets = plane.prometheus_targets / "contract.json"
        targets.write_text(json.dumps([{"targets": [f"{url.host}:{url.port}"]}]))
        metrics = PrometheusMetrics({"default": PrometheusSource(url=plane.prometheus_url)}, SystemClock())
        yield Setting(metrics, measure)
        metrics.close()
        targets.unlink()


@pytest.fixture(params=["fake", "socket", pytest.param("plane", marks=pytest.mark.plane)])
async def setting(request: pytest.FixtureRequest) -> AsyncIterator[Setting]:
    make = {"fake": faked, "socket": over_a_socket, "plane": real}[request.param]
    plane = request.getfixturevalue("plane") if request.param == "plane" else None
    async with make(plane) as made:
        yield made


def _about_n1(answer: MetricAnswer) -> MetricAnswer:
    """What is about this test's own node: a Prometheus of many tests keeps what bore a time of its own for minutes."""
    return replace(answer, samples=tuple(sample for sample in answer.samples if sample.node == "n1"))


async def until(setting: Setting, holds: Callable[[MetricAnswer], object]) -> MetricAnswer:
    async with soon(TIMES):
        while True:
            answer = _about_n1(await setting.metrics.read("default", HEAT))
            if holds(answer):
                return answer
            await asyncio.sleep(0.3)


async def test_a_measurement_comes_with_node_value_and_age(setting: Setting) -> None:
    await setting.measure(72.5)
    answer = await until(setting, lambda answer: answer.samples)
    (sample,) = answer.samples
    assert (sample.node, sample.value, answer.problem) == ("n1", 72.5, "")
    assert 0.0 <= sample.age < 60.0  # a scrape or two on any machine; in other units it would be thousands


async def test_what_is_no_longer_measured_is_empty_and_not_zero(setting: Setting) -> None:
    await setting.measure(72.5)
    await until(setting, lambda answer: answer.samples)
    await setting.measure(None)
    answer = await until(setting, lambda answer: not answer.samples)
    assert answer.problem == ""


async def test_an_unknown_source_is_a_problem_and_no_exception(setting: Setting) -> None:
    answer = await setting.metrics.read("nowhere", HEAT)
    assert answer.samples == ()
    assert "nowhere" in answer.problem
    assert "default" in answer.problem
