"""Kubernetes' label selector, bounded."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from meltguard.api import fields
from meltguard.api.rules import Rule, RuledModel

Key = Annotated[
    str,
    fields.text(fields.text_rule(fields.LABEL_KEY, "key must be a valid label key, like app or example.com/team"), 317),
]


class SelectorOperator(StrEnum):
    """How a label is compared with values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


TAKES_VALUES = frozenset({SelectorOperator.IN, SelectorOperator.NOT_IN})


class LabelRequirement(RuledModel):
    """One condition on one label."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            holds=lambda self: (self.operator in TAKES_VALUES) == bool(self.values),
            message="values must be given with operator In or NotIn and left out with Exists or DoesNotExist",
        ),
    )

    key: Annotated[str, fields.label_key("key")]
    """The label's key."""
    operator: SelectorOperator
    """In and NotIn compare with values; Exists and DoesNotExist take none."""
    values: Annotated[tuple[fields.LabelText, ...], Field(max_length=8), fields.ATOMIC] = ()
    """The values to compare with."""


class LabelSelector(RuledModel):
    """All conditions must hold."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="(has(self.matchLabels) && size(self.matchLabels) > 0)"
            " || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            holds=lambda self: bool(self.match_labels or self.match_expressions),
            message="selector must hold at least one label in matchLabels or matchExpressions: "
            "an empty one would select every pod of the namespace",
        ),
    )

    match_labels: Annotated[dict[str, fields.LabelText], Field(max_length=8), fields.labels("matchLabels")] = Field(
        default_factory=dict
    )
    """Labels and the value that each must have."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=8), fields.ATOMIC] = ()
    """Conditions on labels."""
