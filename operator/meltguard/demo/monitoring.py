"""Whether what people would look at shows anything: every query of dashboard and alerts, on the run's own data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, Final, NoReturn

import aiohttp

from meltguard.adapters.kubernetes_fleet import KubernetesFleet
from meltguard.core.fleet import PodView
from meltguard.core.units import Instant, Seconds
from meltguard.demo.host_setup import AGENT_PORT
from meltguard.demo.scene import OPERATOR, SERVING
from meltguard.demo.watch import is_serving
from meltguard.errors import Unavailable
from meltguard.monitoring.alerts import ALERTS
from meltguard.monitoring.metrics import selectors_in
from meltguard.monitoring.panels import panel_queries

METRICS_PORT: Final = 8080
AGENTS: Final = 8
"""Agents that the demo's Prometheus reads, once a second each: enough for every query, and little work."""

STEP: Final = Seconds(2.0)
LOOK_BACK: Final = Seconds(60.0)
"""A busy machine may miss scrapes; who had a card a minute before the surge has it when it begins."""

ANSWER_WITHIN: Final = Seconds(15.0)


@dataclass(frozen=True, slots=True)
class ScrapeKeeper:
    """Tells Prometheus where the operator and some agents are."""

    fleet: KubernetesFleet
    folder: Path

    async def run(self) -> NoReturn:
        """Keep the file until cancelled."""
        seen = -1
        while True:
            seen = await self.fleet.changes.after(seen)
            self._write()

    def _write(self) -> None:
        pods = [pod for node in self.fleet.view().nodes for pod in node.pods if pod.ready and pod.ip]
        agents = sorted((pod for pod in pods if is_serving(pod)), key=_name)[:AGENTS]
        groups = [
            _group("meltguard", [f"{pod.ip}:{METRICS_PORT}" for pod in pods if pod.namespace == OPERATOR]),
            _group("meltguard-agent", [f"{pod.ip}:{AGENT_PORT}" for pod in agents], namespace=SERVING),
        ]
        text, path = json.dumps(groups), self.folder / "meltguard.json"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


async def unanswered(prometheus_url: str, span: tuple[Instant, Instant]) -> tuple[str, ...]:
    """Queries of dashboard and alerts that found nothing in all of a span.

    An alert's own condition holds only when something is wrong: of those the series are asked for.

    Raises:
        Unavailable: Prometheus does not answer.
    """
    asked = [*panel_queries(), *sorted({series for alert in ALERTS for series in selectors_in(alert.query)})]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN)) as session:
        return tuple([query for query in asked if not await _has_data(session, (prometheus_url, query), span)])


async def _has_data(session: aiohttp.ClientSession, ask: tuple[str, str], span: tuple[Instant, Instant]) -> bool:
    url, query = ask
    params = {"query": query, "start": f"{span[0]:.3f}", "end": f"{span[1]:.3f}", "step": f"{STEP:g}"}
    return has_numbers(await _answer(session, f"{url}/api/v1/query_range", params))


async def _answer(session: aiohttp.ClientSession, url: str, params: Mapping[str, str]) -> dict[str, Any]:
    try:
        async with session.get(url, params=params) as answer:
            body: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise Unavailable(f"Prometheus does not answer {url}: {exc!r}; see its log") from exc
    return body


async def pod_on(prometheus_url: str, card: tuple[str, int], at: Instant) -> str:
    """The pod that had a GPU (node, index) at a moment, as the node's exporter told; empty where it told none.

    Raises:
        Unavailable: Prometheus does not answer.
    """
    node, index = card
    series = f'DCGM_FI_DEV_GPU_TEMP{{Hostname="{node}",gpu="{index}",pod!=""}}'
    params = {"query": f"last_over_time({series}[{LOOK_BACK:.0f}s])", "time": f"{at:.3f}"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN)) as session:
        body = await _answer(session, f"{prometheus_url}/api/v1/query", params)
    pods = [series["metric"].get("pod", "") for series in body.get("data", {}).get("result", ())]
    return next(iter(pods), "")


def has_numbers(body: Mapping[str, Any]) -> bool:
    """Whether an answer holds a number: a quantile of nothing is NaN, which no panel draws."""
    found = body.get("data", {}).get("result", ())
    return any(not isnan(float(value)) for series in found for _, value in series["values"])


def _group(job: str, targets: list[str], **labels: str) -> dict[str, Any]:
    return {"targets": targets, "labels": {"job": job, **labels}}


def _name(pod: PodView) -> str:
    return pod.name
