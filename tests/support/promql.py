"""A stub of Prometheus, and what it answers."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from meltguard.adapters.prometheus import PrometheusMetrics
from meltguard.adapters.prometheus_answer import USUAL, Bounds, PrometheusSource
from meltguard.clock import SystemClock
from meltguard.core.policy import Signal, SignalKind, SignalUse
from support.fake_apiserver import serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def a_signal(kind: SignalKind = SignalKind.GPU_TEMPERATURE, **changes: Any) -> Signal:
    """A signal; the usual one is the GPUs' temperature."""
    fields = {"name": "heat", "kind": kind, "use": SignalUse.DRIVE, "calm": 70.0, "target": 80.0, "critical": 88.0}
    return Signal(**{**fields, **changes})


HEAT = a_signal()
OWN = a_signal(SignalKind.QUERY, query="queue_depth", freshness_query="min(timestamp(queue_depth))")


def vector(*series: tuple[dict[str, str], object], at: float | None = None, **more: Any) -> dict[str, Any]:
    """An instant vector as Prometheus answers it."""
    when = SystemClock().now() if at is None else at
    result = [{"metric": labels, "value": [when, str(value)]} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}, **more}


def heat(
    value: object, age: float = 5.0, at: float | None = None, **labels: str
) -> list[tuple[dict[str, str], object]]:
    """A GPU's temperature as our query gets it: the value, and the time it was taken."""
    when = SystemClock().now() if at is None else at
    named = {"UUID": "GPU-1", "Hostname": "n1", **labels}
    return [
        ({"__name__": "T", **named, "meltguard_spelling": "1"}, value),
        ({**named, "meltguard_taken": "1"}, when - age),
    ]


def always(body: object, code: int = 200) -> Handler:
    """A server that answers everything so."""

    async def answer(_: web.Request) -> web.StreamResponse:
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(text=text, status=code, content_type="application/json")

    return answer


@asynccontextmanager
async def metrics_from(handler: Handler, bounds: Bounds = USUAL, **options: Any) -> AsyncIterator[PrometheusMetrics]:
    """Metrics whose only source, `default`, is answered by a handler."""
    async with serving(handler) as url:
        sources = {"default": PrometheusSource(url=url, **options)}
        metrics = PrometheusMetrics(sources, SystemClock(), bounds=bounds)
        try:
            yield metrics
        finally:
            metrics.close()
