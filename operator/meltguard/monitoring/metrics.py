"""The metrics and series that a query reads."""

import re
from typing import Final

OURS_AND_DCGM: Final = re.compile(r"\b(?:meltguard|DCGM)_\w+")
SELECTOR: Final = re.compile(r"\b(?:meltguard|DCGM)_\w+(?:\{[^}]*\})?")


def metrics_in(query: str) -> frozenset[str]:
    """Metric names, as they are written.

    >>> sorted(metrics_in("sum(rate(meltguard_a_total[5m])) / DCGM_FI_B"))
    ['DCGM_FI_B', 'meltguard_a_total']
    """
    return frozenset(OURS_AND_DCGM.findall(query))


def selectors_in(query: str) -> frozenset[str]:
    """Metric names with their label matchers, as they are written: the series without which a query is silent.

    >>> sorted(selectors_in('sum(meltguard_a{b="c"}) > max(DCGM_FI_B)'))
    ['DCGM_FI_B', 'meltguard_a{b="c"}']
    """
    return frozenset(SELECTOR.findall(query))
