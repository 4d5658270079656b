"""Tiers, features and overrides that nobody may apply."""

from typing import Final

from support.bad import NAME, Bad
from support.objects import REMOVED

FREE: Final = "spec.tiers.0"
OVERRIDE: Final = "spec.overrides.0"
LATER: Final = {"until": "2026-12-01T18:00:00Z", "reason": "launch day"}

BAD_TIERS: Final[dict[str, Bad]] = {
    # tiers
    "no tiers": Bad("spec.tiers", "at least 1 items", {"spec.tiers": []}, native=True),
    "seventeen tiers": Bad(
        "spec.tiers", "must have at most 16 items", {"spec.tiers": [{"name": f"t{n}"} for n in range(17)]}, native=True
    ),
    "two tiers of one name": Bad(
        "spec.tiers", "duplicate entries", {"spec.tiers.1.name": "pro", "spec.overrides": REMOVED}, native=True
    ),
    "a tier name with an underscore": Bad("spec.tiers.1.name", f"name must be {NAME}", {"spec.tiers.1.name": "pl_us"}),
    "a priority below all": Bad(
        f"{FREE}.priority", "greater than or equal to 0", {f"{FREE}.priority": -1}, native=True
    ),
    "a weight of nothing": Bad(f"{FREE}.weight", "greater than or equal to 1", {f"{FREE}.weight": 0}, native=True),
    "a floor without a per cent sign": Bad(
        f"{FREE}.floor", "floor must be a percentage from 0% to 100%, in quotes", {f"{FREE}.floor": "2"}
    ),
    "a floor above everything": Bad(
        f"{FREE}.floor", "floor must be a percentage from 0% to 100%", {f"{FREE}.floor": "120%"}
    ),
    "floors that leave priorities nothing": Bad(
        "spec.tiers",
        "floor over all tiers may sum to 50% at most",
        {f"{FREE}.floor": "30%", "spec.tiers.1.floor": "20.5%"},
    ),
    "a maximum without a unit": Bad(
        f"{FREE}.max", "max must be a rate above zero, like 40/m, 2/s or 1000/h", {f"{FREE}.max": "40"}
    ),
    "a maximum a day": Bad(f"{FREE}.max", "max must be a rate above zero", {f"{FREE}.max": "40/d"}),
    "a maximum of nothing": Bad(
        f"{FREE}.max", "to close a tier, override its state with Suspend", {f"{FREE}.max": "0/m"}
    ),
    "a quota without a number": Bad(
        f"{FREE}.quota.images", "Required value", {f"{FREE}.quota.images": REMOVED}, native=True
    ),
    "a negative quota": Bad(
        f"{FREE}.quota.images", "greater than or equal to 0", {f"{FREE}.quota.images": -3}, native=True
    ),
    "a quota per hour": Bad(f"{FREE}.quota.per", "Unsupported value", {f"{FREE}.quota.per": "hour"}, native=True),
    "a time zone as an offset": Bad(
        f"{FREE}.quota.timeZone", "timeZone must be the IANA name of a time zone", {f"{FREE}.quota.timeZone": "+01:00"}
    ),
    "a time zone of nowhere": Bad(
        f"{FREE}.quota.timeZone",
        "timeZone must be the IANA name of a time zone, like UTC or Europe/Zurich",
        {f"{FREE}.quota.timeZone": "Mars/Olympus"},
        online_only=True,
    ),
    "a wait that no proxy bears": Bad(
        f"{FREE}.maxWait", "maxWait must be a duration from 0s to 10m", {f"{FREE}.maxWait": "1h"}
    ),
    "a refusal that says all is well": Bad(
        f"{FREE}.shedStatus", 'supported values: "503", "429"', {f"{FREE}.shedStatus": 200}, native=True
    ),
    "an essay as a message": Bad(
        f"{FREE}.message", "may not be more than 512", {f"{FREE}.message": "x" * 513}, native=True
    ),
    "a state on a calm level": Bad(
        "onLevel.Normal", "field not declared", {f"{FREE}.onLevel.Normal": "Delay"}, native=True
    ),
    "a state that opens": Bad(
        f"{FREE}.onLevel.Elevated", "Unsupported value", {f"{FREE}.onLevel.Elevated": "Open"}, native=True
    ),
    "states that soften": Bad(
        f"{FREE}.onLevel", "onLevel may not soften as the level rises", {f"{FREE}.onLevel.Critical": "Delay"}
    ),
    "states that soften over a gap": Bad(
        f"{FREE}.onLevel",
        "onLevel may not soften as the level rises",
        {f"{FREE}.onLevel": {"Elevated": "Suspend", "Critical": "Reject"}},
    ),
    # features, rollouts
    "a feature in capitals": Bad("spec.features.0.name", f"name must be {NAME}", {"spec.features.0.name": "Edit"}),
    "a feature without a rollout": Bad(
        "spec.features[0].rollout", "Required value", {"spec.features.0.rollout": REMOVED}, native=True
    ),
    "half a per cent of users": Bad(
        "spec.features.0.rollout.Overloaded",
        "Overloaded must be a whole percentage from 0% to 100%",
        {"spec.features.0.rollout.Overloaded": "0.5%"},
    ),
    "a calm share without its sign": Bad(
        "spec.features.0.rollout.Normal",
        "Normal must be a whole percentage",
        {"spec.features.0.rollout.Normal": "100"},
    ),
    "an elevated share in words": Bad(
        "spec.features.0.rollout.Elevated",
        "Elevated must be a whole percentage",
        {"spec.features.0.rollout.Elevated": "half"},
    ),
    "more than all users": Bad(
        "spec.features.0.rollout.Critical",
        "Critical must be a whole percentage",
        {"spec.features.0.rollout.Critical": "101%"},
    ),
    "a feature that grows under pressure": Bad(
        "spec.features.0.rollout",
        "rollout may not grow as the level rises",
        {"spec.features.0.rollout.Critical": "10%"},
    ),
    "rollouts held always": Bad(
        "spec.rollouts.holdAt", "Unsupported value", {"spec.rollouts.holdAt": "Normal"}, native=True
    ),
    "an update that is cheaper by a word": Bad(
        "spec.rollouts.cheaperBy",
        "cheaperBy must be a percentage from 0% to 100%",
        {"spec.rollouts": {"cheaperBy": "a lot"}},
    ),
    # overrides
    "an override that says nothing": Bad(
        OVERRIDE,
        "override says nothing: give level, or tier with state or limit",
        {OVERRIDE: {"tier": "free", **LATER}},
    ),
    "a state for nobody": Bad(OVERRIDE, "must name the tier that it is for", {f"{OVERRIDE}.tier": REMOVED}),
    "a level for one tier": Bad(
        OVERRIDE,
        "override of the level is for the whole service",
        {OVERRIDE: {"tier": "free", "level": "Normal", **LATER}},
    ),
    "a limit on a closed tier": Bad(
        OVERRIDE, "limit means nothing with state Open or Suspend", {f"{OVERRIDE}.limit": "1/m"}
    ),
    "a limit of nothing": Bad(
        f"{OVERRIDE}.limit",
        "limit must be a rate above zero, like 40/m, 2/s or 1000/h; to admit nothing, set state to Suspend",
        {OVERRIDE: {"tier": "free", "limit": "0/s", **LATER}},
    ),
    "an override of a tier that is not there": Bad(
        "spec", "overrides name a tier that spec.tiers does not have", {f"{OVERRIDE}.tier": "vip"}
    ),
    "an override of a tier that cannot be": Bad(
        f"{OVERRIDE}.tier", f"tier must be {NAME}", {f"{OVERRIDE}.tier": "V.I.P."}
    ),
    "an override without an end": Bad(
        "spec.overrides[0].until", "Required value", {f"{OVERRIDE}.until": REMOVED}, native=True
    ),
    "an override until tomorrow": Bad(
        f"{OVERRIDE}.until",
        "until must be a date and time with its zone, like 2026-12-01T18:00:00Z",
        {f"{OVERRIDE}.until": "tomorrow"},
    ),
    "an override until a day that is none": Bad(
        f"{OVERRIDE}.until",
        "until must be a date and time with its zone",
        {f"{OVERRIDE}.until": "2026-02-30T00:00:00Z"},
    ),
    "an override without a time zone": Bad(
        f"{OVERRIDE}.until", "until must be a date and time with its zone", {f"{OVERRIDE}.until": "2026-12-01T18:00:00"}
    ),
    "an override without a reason": Bad(
        "spec.overrides[0].reason", "Required value", {f"{OVERRIDE}.reason": REMOVED}, native=True
    ),
    "a reason that is none": Bad(f"{OVERRIDE}.reason", "at least 3 chars", {f"{OVERRIDE}.reason": "x"}, native=True),
    "texts too long together": Bad(
        "spec",
        "messages, queries, reasons and names of overrides are too long together",
        {
            "spec.tiers": [{"name": "free"}, *({"name": f"t{n}", "message": "x" * 512} for n in range(15))],
            "spec.overrides": [{"level": "Normal", "until": "2026-12-01T18:00:00Z", "reason": "y" * 256}] * 3,
        },
    ),
}
