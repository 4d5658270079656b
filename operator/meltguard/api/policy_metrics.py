"""What a policy looks at: signals and their scales."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from meltguard.api import fields
from meltguard.api.quantities import DURATION, NUMBER, is_written, parse_measure
from meltguard.api.rules import Checked, Rule, RuledModel
from meltguard.core.policy import SignalUse

DEFAULT_SOURCE: Final = "default"


class SignalPreset(StrEnum):
    """Signals that need no query."""

    AGENT_WAIT = "agent-wait"
    GPU_TEMPERATURE = "gpu-temperature"
    GPU_UTILIZATION = "gpu-utilization"
    GPU_POWER = "gpu-power"


PRESET_SCALES: Final[Mapping[SignalPreset, tuple[str, str, str]]] = {
    SignalPreset.AGENT_WAIT: ("1s", "4s", "12s"),
    SignalPreset.GPU_TEMPERATURE: ("70", "80", "88"),
    SignalPreset.GPU_UTILIZATION: ("50", "80", "100"),
}
"""Calm, target and critical where a signal does not say; the field descriptions quote them. What a card may draw
differs from model to model, so gpu-power has none."""


def _measure(field: str) -> Checked:
    rule = Rule(
        cel=f"{fields.matches(f'({DURATION})|({NUMBER})')}",
        holds=lambda given: parse_measure(given) >= 0,
        message=f'{field} must be a duration like 4s or a number in quotes like "80"',
    )
    return fields.text(rule, 40)


def _points(signal: Any) -> tuple[str, ...]:
    return tuple(point for point in (signal.calm, signal.target, signal.critical) if point is not None)


def _all_written(signal: Any, pattern: str) -> bool:
    return all(is_written(pattern, point) for point in _points(signal))


_GIVEN: Final = "has(self.calm) && has(self.target) && has(self.critical)"
_POINTS: Final = ("self.calm", "self.target", "self.critical")
_ALL_DURATIONS: Final = " && ".join(fields.matches(DURATION, point) for point in _POINTS)
_ALL_NUMBERS: Final = " && ".join(fields.matches(NUMBER, point) for point in _POINTS)
_ALL_WRITTEN: Final = " && ".join(fields.matches(f"({DURATION})|({NUMBER})", point) for point in _POINTS)
_SAME_KIND: Final = f"(({_ALL_DURATIONS}) || ({_ALL_NUMBERS}))"


def _rising(read: str) -> str:
    return f"{read}(self.calm) < {read}(self.target) && {read}(self.target) < {read}(self.critical)"


def _rises(signal: Any) -> bool:
    points = [parse_measure(point) for point in _points(signal)]
    return all(low < high for low, high in pairwise(points))


def _same_kind(signal: Any) -> bool:
    return _all_written(signal, DURATION) or _all_written(signal, NUMBER)


class SignalSpec(RuledModel):
    """One signal. Pressure runs linearly through calm = 0.7, target = 1.0 and critical = 1.5."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.preset) != has(self.query)",
            holds=lambda self: (self.preset is None) != (self.query is None),
            message="preset or query must be given, one of them and not both",
        ),
        Rule(
            cel="!has(self.freshnessQuery) || has(self.query)",
            holds=lambda self: self.freshness_query is None or self.query is not None,
            message="freshnessQuery belongs to query; a preset knows its own: remove freshnessQuery",
        ),
        Rule(
            cel="!has(self.query) || has(self.freshnessQuery)",
            holds=lambda self: self.query is None or self.freshness_query is not None,
            message="query needs freshnessQuery, a query for the time of the newest sample, "
            "like max(timestamp(my_metric)): without it a stale value looks fresh",
        ),
        Rule(
            cel=f"({_GIVEN}) || (!has(self.calm) && !has(self.target) && !has(self.critical))",
            holds=lambda self: len(_points(self)) in {0, 3},
            message="calm, target and critical come together: give all three, or none to take the preset's",
        ),
        Rule(
            cel="!has(self.query) || has(self.target)",
            holds=lambda self: self.query is None or self.target is not None,
            message="query has no scale of its own: give calm, target and critical",
        ),
        Rule(
            cel="!has(self.preset) || self.preset != 'gpu-power' || has(self.target)",
            holds=lambda self: self.preset is not SignalPreset.GPU_POWER or self.target is not None,
            message="gpu-power has no scale of its own, for what a card may draw differs: "
            "give calm, target and critical in watts",
        ),
        Rule(
            cel=f"!({_GIVEN}) || !({_ALL_WRITTEN}) || {_SAME_KIND}",
            holds=_same_kind,
            message="calm, target and critical must be all durations or all numbers: write them in one unit",
        ),
        Rule(
            cel=f"!({_GIVEN}) || !has(self.preset) || !{_SAME_KIND}"
            f" || (self.preset == 'agent-wait' ? ({_ALL_DURATIONS}) : ({_ALL_NUMBERS}))",
            holds=lambda self: (
                self.preset is None
                or _all_written(self, DURATION if self.preset is SignalPreset.AGENT_WAIT else NUMBER)
            ),
            message="calm, target and critical of agent-wait are durations like 4s, "
            'of gpu-temperature degrees Celsius, of gpu-utilization per cent and of gpu-power watts, numbers like "80"',
        ),
        Rule(
            cel=f"!({_GIVEN}) || !{_SAME_KIND} || (({_ALL_DURATIONS}) ? {_rising('duration')} : {_rising('double')})",
            holds=_rises,
            message="calm must be below target and target below critical: put the three in rising order",
        ),
        Rule(
            cel="!has(self.preset) || self.preset != 'gpu-utilization' || self.use == 'Confirm'",
            holds=lambda self: self.preset is not SignalPreset.GPU_UTILIZATION or self.use is SignalUse.CONFIRM,
            message="gpu-utilization may not drive the level, because limits keep GPUs busy on purpose: "
            "set use to Confirm",
        ),
    )

    name: Annotated[str, fields.name("name")]
    """Name of the signal, as status and explanations show it."""
    preset: SignalPreset | None = None
    """A signal that needs no query: agent-wait is the wait that the serving agents predict; gpu-temperature (the hottest), gpu-utilization (the mean) and gpu-power (the highest draw) are read from the exporter of the service's GPUs, whatever its spelling. Give preset or query."""  # noqa: E501
    query: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """PromQL whose highest value counts. Give preset or query."""
    freshness_query: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """PromQL for the time of the newest sample behind query, in seconds since 1970; older than staleAfter makes the signal unknown."""  # noqa: E501
    use: SignalUse = SignalUse.DRIVE
    """Drive sets the level; Confirm never does, but must be fresh and above calm before a node is borrowed."""
    calm: Annotated[str, _measure("calm")] | None = None
    """Value at which pressure is 0.7: below it the service is calm. A duration, or a number in the signal's unit; omitted, the preset's (agent-wait 1s, gpu-temperature 70, gpu-utilization 50; gpu-power has none)."""  # noqa: E501
    target: Annotated[str, _measure("target")] | None = None
    """Value at which pressure is 1.0: where the limits aim at. Omitted, the preset's (agent-wait 4s, gpu-temperature 80, gpu-utilization 80)."""  # noqa: E501
    critical: Annotated[str, _measure("critical")] | None = None
    """Value at which pressure is 1.5. Omitted, the preset's (agent-wait 12s, gpu-temperature 88, gpu-utilization 100)."""  # noqa: E501


class MetricsSpec(RuledModel):
    """Where measurements come from and when they are too old."""

    source: Annotated[str, fields.name("source")] = DEFAULT_SOURCE
    """Name of a metric source in the operator's configuration, which alone holds addresses and credentials."""
    stale_after: Annotated[str, fields.duration("staleAfter", "1s", "1h")] = "60s"
    """A sample older than this is unknown, never zero."""
    signals: Annotated[tuple[SignalSpec, ...], Field(max_length=16), fields.ListMap("name")] = ()
    """What pressure is made of; the highest fresh driving signal counts. Omitted: agent-wait and gpu-temperature drive, gpu-utilization confirms."""  # noqa: E501


DEFAULT_SIGNALS: Final = (
    SignalSpec(name="wait", preset=SignalPreset.AGENT_WAIT),
    SignalSpec(name="temperature", preset=SignalPreset.GPU_TEMPERATURE),
    SignalSpec(name="utilization", preset=SignalPreset.GPU_UTILIZATION, use=SignalUse.CONFIRM),
)
"""What an omitted spec.metrics.signals stands for. No default in the schema: server-side apply could not take
items away again that no manager owns."""
