"""Tiers of users, and features that fade by level."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from meltguard.api import fields
from meltguard.api.levels import Hardness, LevelName, never_softens
from meltguard.api.quantities import SHARE, parse_percent, parse_share
from meltguard.api.rules import Rule, RuledModel
from meltguard.core.policy import TierState
from meltguard.core.quota import Period, WhenUncounted

MOST_FLOORS: Final = 0.5
"""Floors are served before any priority counts; beyond half the capacity priorities would decide over the rest only."""

HardState = Literal[TierState.DELAY, TierState.REJECT, TierState.SUSPEND]


class QuotaSpec(RuledModel):
    """A user's exact allowance."""

    images: Annotated[int, Field(ge=0, le=1_000_000)]
    """Images that one user may have in a period. Exact over all pods."""
    per: Period = Period.DAY
    """The period: a calendar day, a week from Monday on, or a calendar month."""
    time_zone: Annotated[str, fields.time_zone("timeZone")] = "UTC"
    """IANA name of the time zone whose midnight begins the period."""
    when_uncounted: WhenUncounted = WhenUncounted.REFUSE
    """What holds while the quota store is away or forgot: Refuse, or Admit under the tier's rate and count later."""


class OnLevel(RuledModel):
    """A tier's state by level. A level that is left out keeps the state of the one below it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        never_softens(
            Hardness(
                cel="({0} == 'Suspend' ? 2 : {0} == 'Reject' ? 1 : 0)",
                cel_fits="{0} in ['Delay', 'Reject', 'Suspend']",
                of=lambda state: state.rank,
            ),
            ("Elevated", "Overloaded", "Critical"),
            "onLevel may not soften as the level rises: keep to the order Delay, Reject, Suspend from Elevated on",
        ),
    )

    elevated: HardState | None = Field(default=None, alias="Elevated")
    """State from pressure 1.0 on."""
    overloaded: HardState | None = Field(default=None, alias="Overloaded")
    """State from pressure 1.2 on."""
    critical: HardState | None = Field(default=None, alias="Critical")
    """State from pressure 1.5 on."""


class TierSpec(RuledModel):
    """A class of users. Rates are image units, one unit being one reference image (1024 x 1024, default steps)."""

    name: Annotated[str, fields.name("name")]
    """Name of the tier, as requests bear it."""
    priority: Annotated[int, Field(ge=0, le=1000)] = 0
    """Higher is served first; a tier is limited only while every lower one has no more than its floor. Equals share by weight."""  # noqa: E501
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    """Share among tiers of the same priority."""
    floor: Annotated[str, fields.share("floor")] = "0%"
    """Part of the capacity that the tier keeps while higher tiers want all of it, unless it is suspended."""
    max_rate: Annotated[str, fields.rate("max", "to close a tier, override its state with Suspend")] | None = Field(
        default=None, alias="max"
    )
    """Most image units over time that the whole tier may have, however idle the GPUs are. Omitted: no maximum."""
    quota: QuotaSpec | None = None
    """Allowance of one user. Omitted: none is counted."""
    max_wait: Annotated[str, fields.duration("maxWait", "0s", "10m")] = "30s"
    """How long a request may wait before it is refused."""
    shed_status: Literal[503, 429] = 503
    """HTTP status of a refusal for lack of capacity. A user's own quota and the tier's own max are always 429."""
    message: Annotated[str, Field(max_length=512)] = ""
    """What a refused user reads."""
    on_level: OnLevel | None = None
    """What happens to requests over the tier's rate, by level: Delay waits up to maxWait and is then refused, Reject is refused at once, Suspend refuses all. Omitted: the tier stays open."""  # noqa: E501


def _floors_fit(tiers: Any) -> bool:
    return sum(parse_share(tier.floor) for tier in tiers) <= MOST_FLOORS + 1e-9


FLOORS_FIT: Final = Rule(
    cel=f"!self.all(tier, {fields.matches(SHARE, 'tier.floor')})"
    " || self.map(tier, double(tier.floor.replace('%', ''))).sum() <= 50.0",
    holds=_floors_fit,
    message="floor over all tiers may sum to 50% at most, because floors are served before priorities: "
    "lower them, and share out the rest by priority and weight",
)


class Rollout(RuledModel):
    """Share of users by level. A level that is left out keeps the share of the one below it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        never_softens(
            Hardness(
                cel="-int({0}.replace('%', ''))",
                cel_fits="{0}.matches('^(100|[0-9][0-9]?)%$')",
                of=lambda given: -parse_percent(given),
            ),
            tuple(LevelName),
            "rollout may not grow as the level rises: keep the percentages falling from Normal to Critical",
        ),
    )

    normal: Annotated[str, fields.percent("Normal")] = Field(default="100%", alias="Normal")
    """Share of users who have the feature while the service is calm."""
    elevated: Annotated[str, fields.percent("Elevated")] | None = Field(default=None, alias="Elevated")
    """Share from pressure 1.0 on."""
    overloaded: Annotated[str, fields.percent("Overloaded")] | None = Field(default=None, alias="Overloaded")
    """Share from pressure 1.2 on."""
    critical: Annotated[str, fields.percent("Critical")] | None = Field(default=None, alias="Critical")
    """Share from pressure 1.5 on."""


class FeatureSpec(RuledModel):
    """A new feature that fades as the level rises."""

    name: Annotated[str, fields.name("name")]
    """Name of the feature, as the service asks for it."""
    rollout: Rollout
    """Share of users who have it, by level."""
