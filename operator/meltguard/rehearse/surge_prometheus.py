"""A surge from a Prometheus: a range query, by the library that the operator asks with too. Only the CLI loads this."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from meltguard.adapters.prometheus_answer import root_cause
from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.rehearse.surge import Recorded

LEAST_STEP: Final = 5.0
MOST_POINTS: Final = 5_000
"""Prometheus answers at most 11,000 points a series."""

TIER: Final = "tier"
"""The label that tells series apart; without it they are added up."""

LIMIT: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What is asked, and from when to when. The query gives requests a second."""

    url: str
    query: str
    since: Instant
    until: Instant

    @property
    def step(self) -> float:
        """Seconds between two values."""
        return max(LEAST_STEP, math.ceil((self.until - self.since) / MOST_POINTS))


def read_prometheus(asked: Range) -> Recorded:
    """A surge as the query has it. What is missing in between counts as 0.

    Raises:
        InvalidInput: the range is none, the query is wrong, or it finds nothing.
        Unavailable: Prometheus does not answer.
    """
    if asked.until <= asked.since:
        raise InvalidInput("--to must be later than --from")
    rates = _by_tier(_answer(asked))
    moments = sorted({at for values in rates.values() for at in values})
    if len(moments) < 2:  # noqa: PLR2004 - a rate needs a next time
        raise InvalidInput(
            f"--query {asked.query!r} finds {len(moments)} values between --from and --to; check query and times"
        )
    start = moments[0]
    return Recorded(
        source=f"Prometheus {asked.url}, {len(moments)} values of {asked.query}",
        times=tuple(Seconds(at - start) for at in moments),
        rates={tier: tuple(values.get(at, 0.0) for at in moments) for tier, values in rates.items()},
        until=Seconds(moments[-1] - start + asked.step),
        dawn=Instant(start),
    )


def _answer(asked: Range) -> Sequence[Mapping[str, Any]]:
    client = PrometheusConnect(url=asked.url.rstrip("/"), retry=0)
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (asked.since, asked.until))
    try:
        found: Sequence[Mapping[str, Any]] = client.custom_query_range(
            asked.query, start_time=begin, end_time=end, step=f"{asked.step:g}", timeout=LIMIT
        )
    except PrometheusApiClientException as exc:
        raise InvalidInput(f"Prometheus at {asked.url} refuses --query {asked.query!r}: {exc}") from exc
    except (requests.RequestException, ValueError) as exc:
        raise Unavailable(f"Prometheus at {asked.url} does not answer ({root_cause(exc)}); check --prometheus") from exc
    return found


def _by_tier(series: Sequence[Mapping[str, Any]]) -> Mapping[str, Mapping[float, float]]:
    """Values by time; series without a tier are added up as all tiers together."""
    labelled = [one for one in series if TIER in one["metric"]]
    if labelled and len(labelled) < len(series):
        raise InvalidInput(f"--query finds series with and without the label {TIER}; let all have it, or none")
    sums: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    for one in series:
        for at, text in one["values"]:
            value = float(text)
            sums[one["metric"].get(TIER, "")][float(at)] += value if math.isfinite(value) and value > 0 else 0.0
    return sums
