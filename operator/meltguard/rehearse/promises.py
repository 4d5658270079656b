"""What must not happen, as `--fail-if` says it: a tier's wait, a share that is shed, GPU-hours that are borrowed."""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.api.quantities import DURATION, NUMBER, SHARE, is_written, parse_measure, parse_share
from meltguard.core.policy import Policy
from meltguard.errors import InvalidInput
from meltguard.rehearse.figures import Figures, TierFigures

PAID: Final = "paid"
"""Every tier but that of the lowest priority, unless the policy has a tier of this name; the worst of them counts."""

OF_A_TIER: Final[Mapping[str, Callable[[TierFigures], float]]] = {
    "p50": lambda one: one.p50,
    "p99": lambda one: one.p99,
    "shed": lambda one: one.shed_share,
    "served": lambda one: one.served,
    "images": lambda one: one.images,
}
OF_ALL: Final[Mapping[str, Callable[[Figures], float]]] = {
    "borrowed": lambda all_of_it: all_of_it.borrowed,
    "lost": lambda all_of_it: all_of_it.work_lost,
    "brokenOff": lambda all_of_it: all_of_it.broken_off,
    "loans": lambda all_of_it: all_of_it.loans,
    "notHome": lambda all_of_it: all_of_it.not_home,
    "turns": lambda all_of_it: all_of_it.turns,
    "firstLimit": lambda all_of_it: _never(all_of_it.first_limit),
    "firstLoan": lambda all_of_it: _never(all_of_it.first_loan),
}
ABOVE: Final = frozenset({">", ">="})
COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
FORM: Final = re.compile(
    rf"(?:(?P<tier>[a-z0-9-]+)\.)?(?P<figure>[A-Za-z0-9]+)\s*(?P<comparison>>=|<=|>|<)\s*"
    rf"(?P<bound>{SHARE}|{DURATION}|{NUMBER})"
)
KNOWN: Final = (
    f"TIER.{'|'.join(OF_A_TIER)} or {'|'.join(OF_ALL)}, one of > >= < <=, and a number, a duration or a percentage, "
    "such as 'paid.p99>10'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One limit that a rehearsal must keep to."""

    text: str  # as it was written
    tiers: tuple[str, ...]  # whose figure; none where it is of all
    figure: str
    comparison: str
    bound: float

    def broken(self, figures: Figures) -> str:
        """How it is broken, in words; "" where it is kept."""
        value = self._value(figures)
        if not COMPARISONS[self.comparison](value, self.bound):
            return ""
        return f"{self.text}: it is {'never' if math.isinf(value) else f'{value:.4g}'}"

    def _value(self, figures: Figures) -> float:
        if not self.tiers:
            return OF_ALL[self.figure](figures)
        values = [OF_A_TIER[self.figure](one) for one in figures.tiers if one.tier in self.tiers]
        return max(values) if self.comparison in ABOVE else min(values)


def read_promise(text: str, policy: Policy) -> Promise:
    """A `--fail-if`. Raises InvalidInput where it is none, or names no tier of the policy."""
    found = FORM.fullmatch(text.strip())
    if found is None:
        raise InvalidInput(f"--fail-if {text!r} is no limit; write {KNOWN}")
    tier, figure, written = found["tier"] or "", found["figure"], found["bound"]
    known: Sequence[str] = tuple(OF_A_TIER if tier else OF_ALL)
    if figure not in known:
        raise InvalidInput(f"--fail-if {text!r}: there is no figure {figure!r} here; write {KNOWN}")
    bound = parse_share(written) if is_written(SHARE, written) else parse_measure(written)
    if figure == "shed" and bound > 1:
        raise InvalidInput(f"--fail-if {text!r}: shed is a share of the tier's requests; write it as 5% or 0.05")
    return Promise(
        text=text.strip(),
        tiers=_tiers(text, tier, policy),
        figure=figure,
        comparison=found["comparison"],
        bound=bound,
    )


def _tiers(text: str, tier: str, policy: Policy) -> tuple[str, ...]:
    names = [one.name for one in sorted(policy.tiers, key=lambda one: one.priority)]
    if not tier or tier in names:
        return (tier,) if tier else ()
    if tier == PAID and len(names) > 1:
        return tuple(names[1:])
    raise InvalidInput(f"--fail-if {text!r}: policy {policy.name} has no tier {tier!r}; it has {', '.join(names)}")


def _never(at: float | None) -> float:
    """What never came counts as later than anything."""
    return math.inf if at is None else at
