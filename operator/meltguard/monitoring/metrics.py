"""The names of the metrics that a query reads."""

import re
from typing import Final

OURS_AND_DCGM: Final = re.compile(r"\b(?:meltguard|DCGM)_\w+")


def metrics_in(query: str) -> frozenset[str]:
    """Metric names, as they are written.

    >>> sorted(metrics_in("sum(rate(meltguard_a_total[5m])) / DCGM_FI_B"))
    ['DCGM_FI_B', 'meltguard_a_total']
    """
    return frozenset(OURS_AND_DCGM.findall(query))
