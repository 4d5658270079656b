"""Pools that nobody may apply: what is wrong, where the refusal points, what it says."""

from typing import Final

from support.bad import Bad
from support.objects import REMOVED

LABELS: Final = "spec.nodes.labels"
TAINT: Final = "spec.nodes.taints.0"
LENDING: Final = "spec.lending"
WINDOW: Final = "spec.lending.windows.0"
CRON: Final = "schedule must be five cron fields of numbers"
KEYS: Final = "labels may not use keys that begin with meltguard.io/ or kubernetes.io/"

BAD_POOLS: Final[dict[str, Bad]] = {
    # the object, nodes
    "no spec at all": Bad("spec", "Required value", {"spec": REMOVED}, native=True),
    "a name with a dot": Bad("", "metadata.name must be at most 63 lower case letters", {"metadata.name": "re.search"}),
    "no nodes": Bad("spec.nodes", "Required value", {"spec.nodes": REMOVED}, native=True),
    "no labels": Bad(LABELS, "Required value", {LABELS: REMOVED}, native=True),
    "an empty selection": Bad(LABELS, "should have at least 1 properties", {LABELS: {}}, native=True),
    "nine labels": Bad(LABELS, "must have at most 8 items", {LABELS: {f"l{n}": "x" for n in range(9)}}, native=True),
    "a label key that is none": Bad(LABELS, "labels must hold valid label keys and values", {LABELS: {"/x": "y"}}),
    "a label value too long": Bad(
        f"{LABELS}.workload", "may not be more than 63", {LABELS: {"workload": "x" * 64}}, native=True
    ),
    "our own consent as a label": Bad(LABELS, KEYS, {LABELS: {"meltguard.io/managed": "true"}}),
    "the host's name as a label": Bad(LABELS, KEYS, {LABELS: {"kubernetes.io/hostname": "gpu-1"}}),
    "a zone as a label": Bad(LABELS, KEYS, {LABELS: {"topology.kubernetes.io/zone": "a"}}),
    "a taint that evicts": Bad(
        TAINT,
        "effect must be NoSchedule: NoExecute would end pods without the Eviction API and so bypass",
        {f"{TAINT}.effect": "NoExecute"},
    ),
    "a taint that only asks": Bad(TAINT, "effect must be NoSchedule", {f"{TAINT}.effect": "PreferNoSchedule"}),
    "a taint under our prefix": Bad(
        TAINT, "key of a taint may not begin with meltguard.io/", {f"{TAINT}.key": "meltguard.io/x"}
    ),
    "a taint key that is none": Bad(f"{TAINT}.key", "key must be a valid label key", {f"{TAINT}.key": "a b"}),
    "a taint value that is none": Bad(f"{TAINT}.value", "value must be a valid label value", {f"{TAINT}.value": "a b"}),
    # provider
    "a provider without a name": Bad(
        "spec.provider.name", "Required value", {"spec.provider.name": REMOVED}, native=True
    ),
    "a price with a currency": Bad(
        "spec.provider.costPerGPUHour",
        "costPerGPUHour must be a number from 0 to 10000, in quotes",
        {"spec.provider.costPerGPUHour": "$1.80"},
    ),
    # lending
    "lending without a floor": Bad(f"{LENDING}.floor", "Required value", {f"{LENDING}.floor": REMOVED}, native=True),
    "lending without saying to whom": Bad(
        f"{LENDING}.borrowers", "Required value", {f"{LENDING}.borrowers": REMOVED}, native=True
    ),
    "a negative floor": Bad(f"{LENDING}.floor", "floor must be a number of nodes like 4", {f"{LENDING}.floor": -1}),
    "a floor as a number in quotes": Bad(
        f"{LENDING}.floor", 'or a percentage of the pool like "40%"', {f"{LENDING}.floor": "4"}
    ),
    "a floor above the whole pool": Bad(
        f"{LENDING}.floor", "floor must be a number of nodes like 4", {f"{LENDING}.floor": "140%"}
    ),
    "a floor of half a node": Bad(f"{LENDING}.floor", "", {f"{LENDING}.floor": 0.5}, native=True),
    "a negative number of loans": Bad(
        f"{LENDING}.maxLoans", "greater than or equal to 0", {f"{LENDING}.maxLoans": -1}, native=True
    ),
    "a loan for ever": Bad(
        f"{LENDING}.maxLoanDuration",
        "maxLoanDuration must be a duration from 1s to 2160h",
        {f"{LENDING}.maxLoanDuration": "9999h"},
    ),
    "borrowers without a selector": Bad(
        f"{LENDING}.borrowers.namespaceSelector", "Required value", {f"{LENDING}.borrowers": {}}, native=True
    ),
    "borrowers by an expression": Bad(
        f"{LENDING}.borrowers.namespaceSelector.matchExpressions",
        "field not declared",
        {f"{LENDING}.borrowers.namespaceSelector.matchExpressions": []},
        native=True,
    ),
    "a borrower's label that is none": Bad(
        f"{LENDING}.borrowers.namespaceSelector.matchLabels",
        "matchLabels must hold valid label keys and values",
        {f"{LENDING}.borrowers.namespaceSelector.matchLabels": {"team": "a b"}},
    ),
    # eviction
    "a notice in words": Bad(
        f"{LENDING}.eviction.notice", "notice must be a duration", {f"{LENDING}.eviction.notice": "soon"}
    ),
    "a runtime without a unit": Bad(
        f"{LENDING}.eviction.minimumRuntime",
        "minimumRuntime must be a duration",
        {f"{LENDING}.eviction.minimumRuntime": "30"},
    ),
    "a loss that is no duration": Bad(
        f"{LENDING}.eviction.maxLossPerGPU",
        "maxLossPerGPU must be a duration",
        {f"{LENDING}.eviction.maxLossPerGPU": "many"},
    ),
    "no node at once": Bad(
        f"{LENDING}.eviction.maxAtOnce", "greater than or equal to 1", {f"{LENDING}.eviction.maxAtOnce": 0}
    ),
    "a deadline of nothing": Bad(
        f"{LENDING}.eviction.deadline", "deadline must be a duration from 1s", {f"{LENDING}.eviction.deadline": "0s"}
    ),
    "a notice past the deadline": Bad(
        f"{LENDING}.eviction", "notice must be shorter than deadline", {f"{LENDING}.eviction.notice": "15m"}
    ),
    "a notice as long as the default deadline": Bad(
        f"{LENDING}.eviction", "notice must be shorter than deadline", {f"{LENDING}.eviction": {"notice": "600s"}}
    ),
    "a deadline that kills": Bad(
        f"{LENDING}.eviction.onDeadline", "Unsupported value", {f"{LENDING}.eviction.onDeadline": "Delete"}, native=True
    ),
    # windows
    "a window that does nothing": Bad(
        f"{WINDOW}.action", "Unsupported value", {f"{WINDOW}.action": "Maybe"}, native=True
    ),
    "a window with six fields": Bad(f"{WINDOW}.schedule", CRON, {f"{WINDOW}.schedule": "0 0 22 * * 5"}),
    "a window at hour 24": Bad(f"{WINDOW}.schedule", CRON, {f"{WINDOW}.schedule": "0 24 * * *"}),
    "a window at @daily": Bad(f"{WINDOW}.schedule", CRON, {f"{WINDOW}.schedule": "@daily"}),
    "a window without a length": Bad(
        "spec.lending.windows[0].duration", "Required value", {f"{WINDOW}.duration": REMOVED}, native=True
    ),
    "a window of a month": Bad(
        f"{WINDOW}.duration", "duration must be a duration from 1s to 168h", {f"{WINDOW}.duration": "720h"}
    ),
    "a window nowhere": Bad(
        f"{WINDOW}.timeZone",
        "timeZone must be the IANA name of a time zone",
        {f"{WINDOW}.timeZone": "Europe/Zuerich"},
        online_only=True,
    ),
    "a window in local time": Bad(
        f"{WINDOW}.timeZone", "timeZone must be the IANA name of a time zone", {f"{WINDOW}.timeZone": "local"}
    ),
    # scaleRef
    "a scale without a bound": Bad("spec.scaleRef.max", "Required value", {"spec.scaleRef.max": REMOVED}, native=True),
    "a scale upside down": Bad("spec.scaleRef", "min must not be above max", {"spec.scaleRef.min": 9}),
    "a scale without a spend cap": Bad(
        "spec.scaleRef.spend", "Required value", {"spec.scaleRef.spend": REMOVED}, native=True
    ),
    "a scale whose nodes have no price": Bad("spec", "set provider.costPerGPUHour", {"spec.provider": REMOVED}),
    "an order that may arrive at once": Bad(
        "spec.scaleRef.arriveWithin", "arriveWithin must be a duration", {"spec.scaleRef.arriveWithin": "0s"}
    ),
    "a node that stays for ever": Bad(
        "spec.scaleRef.idleAfter", "idleAfter must be a duration from 10s to 24h", {"spec.scaleRef.idleAfter": "25h"}
    ),
    "a node that leaves before whoever ordered it can claim it": Bad(
        "spec.scaleRef.idleAfter", "idleAfter must be a duration from 10s to 24h", {"spec.scaleRef.idleAfter": "9s"}
    ),
    "a day's cap in words": Bad(
        "spec.scaleRef.spend.perDay", "perDay must be a number", {"spec.scaleRef.spend.perDay": "much"}
    ),
    "a month's cap in words": Bad(
        "spec.scaleRef.spend.perMonth", "perMonth must be a number", {"spec.scaleRef.spend.perMonth": "much"}
    ),
    "a day that may cost more than its month": Bad(
        "spec.scaleRef.spend", "perDay must not be above perMonth", {"spec.scaleRef.spend.perDay": "5000"}
    ),
    "a negative scale": Bad("spec.scaleRef.min", "greater than or equal to 0", {"spec.scaleRef.min": -1}, native=True),
}
