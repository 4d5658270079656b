"""Metrics from PromQL, each sample with its age. Whatever a source does, it holds up nothing but itself."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from meltguard.adapters import gpu_presets
from meltguard.adapters.gpu_presets import PRESETS, SPELLING, TAKEN, Locate, RawSample
from meltguard.adapters.prometheus_answer import USUAL, BoundedPrometheus, Bounds, Evaluated, PrometheusSource, Series
from meltguard.core.metrics import MetricAnswer, MetricSample
from meltguard.core.policy import Signal, SignalKind
from meltguard.core.units import Instant, NodeName, Seconds
from meltguard.errors import MeltguardError, Unavailable
from meltguard.ports import Clock

SHARED_FOR: Final = Seconds(1.0)
"""Policies that ask the same within this time get the same answer; its ages are then so much too young."""

MOST_SKEW: Final = Seconds(30.0)
BLANK: Final = 9.2e18
"""DCGM's "no value" leaks through old exporters as numbers from here on."""

THREADS: Final = 2
"""A source's own: a hanging one runs out of threads of its own, never of others'."""

Question = tuple[str, SignalKind, str, str]


@dataclass(slots=True)
class Asked:
    """A question under way or just answered."""

    at: Seconds
    answer: asyncio.Task[MetricAnswer]


class Source:
    """One Prometheus with threads of its own."""

    def __init__(self, name: str, source: PrometheusSource, bounds: Bounds) -> None:
        self._client = BoundedPrometheus(source, bounds)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"prometheus-{name}")

    async def evaluate(self, query: str, at: Instant | None, limit: Seconds) -> Evaluated:
        """A query's value. Raises Unavailable where the threads hang, and as BoundedPrometheus does."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit):
                return await loop.run_in_executor(self._threads, self._client.evaluate, query, at, limit)
        except TimeoutError as exc:
            raise Unavailable(f"Prometheus at {self._client.url} gave no answer within {limit:.0f} s") from exc

    def close(self) -> None:
        """Let the threads end as they finish; nobody waits for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()


def as_written(text: str) -> NodeName | None:
    """Take a label's text as a node's name."""
    return NodeName(text)


class PrometheusMetrics:
    """Metrics over the sources of the operator's configuration."""

    def __init__(
        self,
        sources: Mapping[str, PrometheusSource],
        clock: Clock,
        locate: Locate = as_written,
        bounds: Bounds = USUAL,
    ) -> None:
        """`locate` turns what a label calls a node into one: KubernetesFleet.locate knows exporter pods too."""
        self.dropped: Counter[str] = Counter()  # by source: series whose value was impossible
        self._sources = {name: Source(name, source, bounds) for name, source in sources.items()}
        self._clock = clock
        self._locate = locate
        self._limit = bounds.answer
        self._asked: dict[Question, Asked] = {}

    def close(self) -> None:
        """Stop asking."""
        for source in self._sources.values():
            source.close()

    async def read(self, source: str, signal: Signal) -> MetricAnswer:
        """All samples of a signal. Never raises for what the source does: a failure is an answer with a problem."""
        if source not in self._sources:
            known = ", ".join(sorted(self._sources)) or "none"
            return _problem(f"no metrics source {source!r}; the operator's configuration has: {known}")
        question = (source, signal.kind, signal.query, signal.freshness_query)
        now = self._clock.elapsed()
        self._asked = {key: asked for key, asked in self._asked.items() if now - asked.at < SHARED_FOR}
        if question not in self._asked:
            self._asked[question] = Asked(now, asyncio.create_task(self._answer(source, signal)))
        return await asyncio.shield(self._asked[question].answer)

    async def _answer(self, source: str, signal: Signal) -> MetricAnswer:
        asked_at = self._clock.now()
        try:
            if signal.kind in PRESETS:
                return await self._preset(source, signal.kind, asked_at)
            if signal.kind is SignalKind.QUERY:
                return await self._query(source, signal, asked_at)
        except MeltguardError as exc:
            return _problem(str(exc))
        return _problem(f"signal {signal.name}: {signal.kind} does not come from Prometheus")

    async def _preset(self, source: str, kind: SignalKind, asked_at: Instant) -> MetricAnswer:
        preset = PRESETS[kind]
        seen = await self._sources[source].evaluate(gpu_presets.query_for(preset), None, self._limit)
        raw = _with_ages(seen)
        samples, dropped = gpu_presets.samples_of(preset, raw, self._locate)
        self.dropped[source] += dropped + _unusable(seen)
        return MetricAnswer(samples=samples, problem=self._distrust(seen, asked_at))

    async def _query(self, source: str, signal: Signal, asked_at: Instant) -> MetricAnswer:
        """A policy's own expression: its value, then at the same instant when what it is made of was measured."""
        if not signal.freshness_query:
            return _problem(f"signal {signal.name}: freshnessQuery is missing; how old its value is cannot be told")
        half = Seconds(self._limit / 2)
        seen = await self._sources[source].evaluate(signal.query, None, half)
        if seen.at is None:
            return MetricAnswer(samples=(), problem=self._distrust(seen, asked_at))
        taken = await self._sources[source].evaluate(signal.freshness_query, seen.at, half)
        times = [time for series in taken.series if (time := number(series)) is not None]
        if not times:
            return _problem(f"signal {signal.name}: freshnessQuery gives no time; it must give seconds since the epoch")
        age = Seconds(max(0.0, seen.at - min(times)))
        self.dropped[source] += _unusable(seen)
        samples = tuple(
            MetricSample(node=gpu_presets.node_of(series.metric, self._locate), value=value, age=age)
            for series in seen.series
            if (value := number(series)) is not None
        )
        problem = self._distrust(seen, asked_at) or self._distrust(taken, asked_at)
        return MetricAnswer(samples=samples, problem=problem)

    def _distrust(self, seen: Evaluated, asked_at: Instant) -> str:
        """Why an answer is not to be trusted though it came."""
        if seen.warnings:
            return f"Prometheus warns that the answer may be incomplete: {'; '.join(seen.warnings)[:300]}"
        if seen.at is None:
            return ""
        skew = max(asked_at - seen.at, seen.at - self._clock.now())
        if skew > MOST_SKEW:
            return f"Prometheus' clock is {skew:.0f} s off ours, at most {MOST_SKEW:.0f} s are tolerated; set its clock"
        return ""


def number(series: Series) -> float | None:
    """A series' value; None where it is none: NaN, infinite, DCGM's blank, or no number at all."""
    try:
        value = float(series.value[1]) if series.value else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < BLANK else None


def _with_ages(seen: Evaluated) -> Sequence[RawSample]:
    """Join each value with the time that its sample was taken; a value whose time is missing is left out."""
    taken = {_key(one, TAKEN): time for one in seen.series if TAKEN in one.metric and (time := number(one)) is not None}
    return [
        RawSample(
            labels=one.metric,
            value=value,
            age=Seconds(max(0.0, (seen.at or 0.0) - taken[key])),
            rank=int(one.metric[SPELLING]),
        )
        for one in seen.series
        if SPELLING in one.metric and (value := number(one)) is not None and (key := _key(one, SPELLING)) in taken
    ]


def _key(series: Series, mark: str) -> frozenset[tuple[str, str]]:
    """A series' labels without its name and with our mark in one spelling: equal for a value and its time."""
    own = {"__name__", mark}
    labels = {(name, text) for name, text in series.metric.items() if name not in own}
    return frozenset(labels | {("", series.metric[mark])})


def _unusable(seen: Evaluated) -> int:
    return sum(1 for series in seen.series if number(series) is None)


def _problem(text: str) -> MetricAnswer:
    return MetricAnswer(samples=(), problem=text)
