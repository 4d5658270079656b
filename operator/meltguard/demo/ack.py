"""How long acknowledgements of limits took: the one number that the demo takes from the operator itself."""

import math
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from meltguard.core.units import Seconds, Share
from meltguard.errors import Unavailable

HISTOGRAM: Final = "meltguard_limit_ack_seconds"
ANSWER_WITHIN: Final = aiohttp.ClientTimeout(total=5.0)


async def read_metrics(url: str) -> str:
    """What the operator's /metrics says. Raises Unavailable where it does not answer."""
    try:
        async with aiohttp.ClientSession(timeout=ANSWER_WITHIN) as session, session.get(url) as answer:
            answer.raise_for_status()
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise Unavailable(f"the operator's metrics at {url} do not answer: {exc!r}") from exc


def histogram_quantile(text: str, name: str, share: Share) -> Seconds | None:
    """A quantile of a histogram over all its label sets, as Prometheus estimates it; None where nothing was counted."""
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{name}_bucket":
                edge = float(sample.labels["le"])
                buckets[edge] = buckets.get(edge, 0.0) + sample.value
    total = buckets.get(math.inf, 0.0)
    return None if total <= 0 else _estimate(sorted(buckets.items()), share * total)


def _estimate(buckets: list[tuple[float, float]], rank: float) -> Seconds:
    """Straight within the bucket that holds the rank; beyond the last finite edge, that edge."""
    below_edge = below_count = 0.0
    for edge, count in buckets:
        if count >= rank:
            if math.isinf(edge):
                return Seconds(below_edge)
            return Seconds(below_edge + (edge - below_edge) * (rank - below_count) / max(count - below_count, 1e-9))
        below_edge, below_count = edge, count
    return Seconds(below_edge)
