"""Standard conditions, as kubectl wait and Flux read them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from meltguard.api.fields import Clipped, ListMap, Moment
from meltguard.api.wire import MessageModel


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(MessageModel):
    """One aspect of the object's state."""

    type: Annotated[str, Field(min_length=1, max_length=316, pattern="^[A-Za-z][A-Za-z0-9]*$")]
    """What the condition is about, like Ready."""
    status: ConditionStatus
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """metadata.generation that the condition was set for."""
    last_transition_time: Moment
    """When status last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=128, pattern="^[A-Za-z][A-Za-z0-9]*$")]
    """Why, in one CamelCase word that programs may rely on."""
    message: Annotated[str, Clipped(1024)]
    """Why, and the next step, for people."""


Conditions = Annotated[tuple[Condition, ...], ListMap("type"), Clipped(16)]
"""Conditions by type."""


def with_conditions(before: Sequence[Condition], now: Sequence[Condition]) -> tuple[Condition, ...]:
    """The conditions of now, each with the time of its last change of status; those not named now are gone."""
    known = {condition.type: condition for condition in before}
    return tuple(_since(known.get(condition.type), condition) for condition in now)


def _since(before: Condition | None, now: Condition) -> Condition:
    if before is None or before.status is not now.status:
        return now
    return now.model_copy(update={"last_transition_time": before.last_transition_time})
