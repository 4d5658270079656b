"""PrometheusMetrics against the real Prometheus, scraping what GPU exporters really write."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from meltguard.adapters.prometheus import PrometheusMetrics
from meltguard.adapters.prometheus_answer import PrometheusSource
from meltguard.clock import SystemClock
from meltguard.core.metrics import MetricAnswer
from meltguard.core.policy import Signal, SignalKind, SignalUse
from meltguard.localcluster.plane import Plane
from support.eventually import soon
from support.fake_apiserver import serving

pytestmark = pytest.mark.plane

FRESH = 60.0
"""Seconds since a scrape, on any machine; a time that is taken for another, or in other units, is far beyond."""


def a_signal(kind: SignalKind, **changes: Any) -> Signal:
    fields = {"name": "s", "kind": kind, "use": SignalUse.DRIVE, "calm": 70.0, "target": 80.0, "critical": 88.0}
    return Signal(**{**fields, **changes})


CLOCK = a_signal(SignalKind.GPU_CLOCK)
HEAT, WORK = a_signal(SignalKind.GPU_TEMPERATURE), a_signal(SignalKind.GPU_UTILIZATION)


def dcgm(metric: str, gpu: int, value: str, host: str = "Hostname") -> str:
    labels = f'gpu="{gpu}",UUID="GPU-{gpu}",device="nvidia{gpu}",modelName="H100",{host}="research-1"'
    return f"{metric}{{{labels}}} {value}"


@dataclass
class Exporter:
    """What a node's exporter shows, and the metrics read from it."""

    metrics: PrometheusMetrics
    lines: list[str] = field(default_factory=list)

    async def answer(self, _: web.Request) -> web.StreamResponse:
        """Answer a scrape."""
        await asyncio.sleep(0)
        return web.Response(text="\n".join([*self.lines, ""]))

    async def until(self, signal: Signal, holds: Callable[[MetricAnswer], object]) -> MetricAnswer:
        """The first answer of which it holds."""
        async with soon(20.0):
            while True:
                answer = await self.metrics.read("default", signal)
                if holds(answer):
                    return answer
                await asyncio.sleep(0.3)


def values(answer: MetricAnswer) -> list[float]:
    return sorted(round(sample.value, 6) for sample in answer.samples)


@asynccontextmanager
async def exporting(plane: Plane, *lines: str) -> AsyncIterator[Exporter]:
    metrics = PrometheusMetrics({"default": PrometheusSource(url=plane.prometheus_url)}, SystemClock())
    exporter = Exporter(metrics, list(lines))
    async with serving(exporter.answer) as address:
        targets = _announce(plane, URL(address))
        try:
            yield exporter
        finally:
            targets.unlink()
            metrics.close()


def _announce(plane: Plane, url: URL) -> Path:
    path = plane.prometheus_targets / f"exporter-{url.port}.json"
    path.write_text(json.dumps([{"targets": [f"{url.host}:{url.port}"]}]))
    return path


async def test_aliases_blanks_and_both_units_become_one_number_a_gpu(plane: Plane) -> None:
    lines = [
        dcgm("DCGM_FI_DEV_GPU_TEMP", 0, "71"),
        dcgm("DCGM_FI_DEV_GPU_TEMP_CELSIUS", 0, "71"),
        dcgm("DCGM_FI_DEV_GPU_TEMP", 1, "83", "hostname"),
        dcgm("DCGM_FI_DEV_GPU_TEMP", 2, "9223372036854775794"),
        dcgm("DCGM_FI_DEV_GPU_TEMP", 3, "NaN"),
        dcgm("DCGM_FI_DEV_GPU_UTIL", 0, "0"),
        dcgm("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0, "0.93"),
        dcgm("DCGM_FI_DEV_GPU_UTIL", 1, "40"),
        dcgm("DCGM_FI_DEV_SM_CLOCK", 0, "1980"),
        'gpu_clock{gpu_id="0",serial_number="s0",card_model="MI300X",clock_type="GPU_CLOCK_TYPE_SYSTEM"} 2100',
        'gpu_clock{gpu_id="0",serial_number="s0",card_model="MI300X",clock_type="GPU_CLOCK_TYPE_MEMORY"} 1300',
    ]
    async with exporting(plane, *lines) as exporter:
        heat = await exporter.until(HEAT, lambda answer: values(answer) == [71.0, 83.0])
        assert {str(sample.node) for sample in heat.samples} == {"research-1"}
        assert all(sample.age < FRESH for sample in heat.samples)
        await exporter.until(WORK, lambda answer: values(answer) == [40.0, 93.0])
        clock = await exporter.until(CLOCK, lambda answer: len(answer.samples) == 2)
        assert {(sample.model, sample.value) for sample in clock.samples} == {("H100", 1980.0), ("MI300X", 2100.0)}


async def test_an_exporter_that_dies_leaves_nothing_behind(plane: Plane) -> None:
    async with exporting(plane, dcgm("DCGM_FI_DEV_GPU_TEMP", 8, "64")) as exporter:
        await exporter.until(HEAT, lambda answer: values(answer) == [64.0])
        exporter.lines.clear()
        await exporter.until(HEAT, lambda answer: not answer.samples)


async def test_a_sample_is_as_old_as_its_own_time_says(plane: Plane) -> None:
    taken = round((SystemClock().now() - 100.0) * 1000)
    async with exporting(plane, dcgm("DCGM_FI_DEV_GPU_TEMP", 7, f"66 {taken}")) as exporter:
        (sample,) = (await exporter.until(HEAT, lambda answer: values(answer) == [66.0])).samples
        assert 99.0 < sample.age < 100.0 + FRESH


async def test_an_own_query_and_its_freshness(plane: Plane) -> None:
    own = a_signal(SignalKind.QUERY, query="sum(queue_depth) * 2", freshness_query="min(timestamp(queue_depth))")
    async with exporting(plane, 'queue_depth{server="a"} 3', 'queue_depth{server="b"} 4') as exporter:
        (sample,) = (await exporter.until(own, lambda answer: values(answer) == [14.0])).samples
        assert 0.0 <= sample.age < FRESH


async def test_what_is_no_query_is_told_in_prometheus_words(plane: Plane) -> None:
    wrong = a_signal(SignalKind.QUERY, query="sum(", freshness_query="vector(0)")
    async with exporting(plane) as exporter:
        assert "parse error" in (await exporter.metrics.read("default", wrong)).problem


async def test_prometheus_own_warnings_are_kept(plane: Plane) -> None:
    odd = a_signal(SignalKind.QUERY, query="quantile(2, heat)", freshness_query="vector(time())")
    async with exporting(plane, "heat 1") as exporter:
        await exporter.until(odd, lambda answer: "quantile" in answer.problem)
