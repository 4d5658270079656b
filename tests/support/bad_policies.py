"""Policies that nobody may apply: what is wrong, where the refusal points, what it says. Tiers have their own table."""

from typing import Final

from support.bad import NAME, Bad
from support.objects import REMOVED

SIGNAL: Final = "spec.metrics.signals.0"
QUERY: Final = {"name": "q", "query": "max(x)", "freshnessQuery": "max(timestamp(x))"}
TOGETHER: Final = "calm, target and critical come together: give all three, or none"
ORDER: Final = "put the three in rising order"
UNITS: Final = "calm, target and critical of agent-wait are durations like 4s, of gpu-temperature degrees"

BAD_POLICIES: Final[dict[str, Bad]] = {
    # the object
    "no spec at all": Bad("spec", "Required value", {"spec": REMOVED}, native=True),
    "a name too long to keep quotas under": Bad(
        "", "metadata.name must be at most 63 lower case letters", {"metadata.name": "a" * 64}
    ),
    "a misspelt part": Bad("spec.tierz", "field not declared", {"spec.tierz": []}, native=True),
    "a mode that does not exist": Bad(
        "spec.mode", 'supported values: "Enforce", "Shadow", "Paused"', {"spec.mode": "DryRun"}, native=True
    ),
    # service
    "no service": Bad("spec.service", "Required value", {"spec.service": REMOVED}, native=True),
    "no selector": Bad("spec.service.selector", "Required value", {"spec.service.selector": REMOVED}, native=True),
    "a selector of everything": Bad(
        "spec.service.selector",
        "selector must hold at least one label in matchLabels or matchExpressions",
        {"spec.service.selector": {"matchLabels": {}}},
    ),
    "a label key with a space": Bad(
        "spec.service.selector.matchLabels",
        "matchLabels must hold valid label keys and values",
        {"spec.service.selector.matchLabels": {"my app": "x"}},
    ),
    "a label value with a slash": Bad(
        "spec.service.selector.matchLabels",
        "matchLabels must hold valid label keys and values",
        {"spec.service.selector.matchLabels": {"app": "a/b"}},
    ),
    "In without values": Bad(
        "spec.service.selector.matchExpressions[0]",
        "values must be given with operator In or NotIn",
        {"spec.service.selector.matchExpressions": [{"key": "app", "operator": "In"}]},
    ),
    "Exists with values": Bad(
        "spec.service.selector.matchExpressions[0]",
        "left out with Exists or DoesNotExist",
        {"spec.service.selector.matchExpressions": [{"key": "app", "operator": "Exists", "values": ["x"]}]},
    ),
    "a bad key in an expression": Bad(
        "spec.service.selector.matchExpressions[0].key",
        "key must be a valid label key",
        {"spec.service.selector.matchExpressions": [{"key": "-app", "operator": "Exists"}]},
    ),
    "an unknown operator": Bad(
        "spec.service.selector.matchExpressions[0].operator",
        "Unsupported value",
        {"spec.service.selector.matchExpressions": [{"key": "app", "operator": "Like"}]},
        native=True,
    ),
    "port zero": Bad(
        "spec.service.agentPort", "greater than or equal to 1", {"spec.service.agentPort": 0}, native=True
    ),
    "a port beyond all ports": Bad(
        "spec.service.agentPort", "less than or equal to 65535", {"spec.service.agentPort": 65536}, native=True
    ),
    "a port as text": Bad("spec.service.agentPort", "", {"spec.service.agentPort": "http"}, native=True),
    "no GPU for a pod": Bad(
        "spec.service.gpusPerPod", "greater than or equal to 1", {"spec.service.gpusPerPod": 0}, native=True
    ),
    "a workload without a name": Bad(
        "spec.service.workloadRef.name", "Required value", {"spec.service.workloadRef.name": REMOVED}, native=True
    ),
    # metrics
    "a source that is a URL": Bad("spec.metrics.source", NAME, {"spec.metrics.source": "http://prometheus:9090"}),
    "a stale time without a unit": Bad(
        "spec.metrics.staleAfter",
        "staleAfter must be a duration from 1s to 1h; write it like 30s, 2m or 1h30m",
        {"spec.metrics.staleAfter": "60"},
    ),
    "a stale time of days": Bad(
        "spec.metrics.staleAfter", "staleAfter must be a duration from 1s to 1h", {"spec.metrics.staleAfter": "48h"}
    ),
    "two signals of one name": Bad(
        "spec.metrics.signals", "duplicate entries", {f"{SIGNAL}.name": "temperature"}, native=True
    ),
    "seventeen signals": Bad(
        "spec.metrics.signals",
        "must have at most 16 items",
        {"spec.metrics.signals": [{"name": f"s{n}", "preset": "agent-wait"} for n in range(17)]},
        native=True,
    ),
    "a signal name in capitals": Bad(f"{SIGNAL}.name", f"name must be {NAME}", {f"{SIGNAL}.name": "Wait"}),
    "neither preset nor query": Bad(SIGNAL, "preset or query must be given", {SIGNAL: {"name": "wait"}}),
    "preset and query": Bad(SIGNAL, "one of them and not both", {SIGNAL: {**QUERY, "preset": "agent-wait"}}),
    "a preset that does not exist": Bad(
        f"{SIGNAL}.preset", "Unsupported value", {f"{SIGNAL}.preset": "cpu"}, native=True
    ),
    "a freshness query beside a preset": Bad(
        SIGNAL, "a preset knows its own: remove freshnessQuery", {f"{SIGNAL}.freshnessQuery": "time()"}
    ),
    "a query without freshness": Bad(
        SIGNAL,
        "query needs freshnessQuery",
        {SIGNAL: {"name": "q", "query": "max(x)", "calm": "1", "target": "2", "critical": "3"}},
    ),
    "a query without a scale": Bad(SIGNAL, "query has no scale of its own", {SIGNAL: QUERY}),
    "only a target": Bad(SIGNAL, TOGETHER, {f"{SIGNAL}.calm": REMOVED, f"{SIGNAL}.critical": REMOVED}),
    "no critical": Bad(SIGNAL, TOGETHER, {f"{SIGNAL}.critical": REMOVED}),
    "a calm that is no value": Bad(
        f"{SIGNAL}.calm", "calm must be a duration like 4s or a number in quotes", {f"{SIGNAL}.calm": "soon"}
    ),
    "a target that is no value": Bad(
        f"{SIGNAL}.target", "target must be a duration like 4s or a number in quotes", {f"{SIGNAL}.target": "80C"}
    ),
    "a critical that is negative": Bad(
        f"{SIGNAL}.critical", "critical must be a duration like 4s or a number", {f"{SIGNAL}.critical": "-12s"}
    ),
    "seconds and numbers mixed": Bad(SIGNAL, "write them in one unit", {f"{SIGNAL}.calm": "1"}),
    "a wait in bare numbers": Bad(
        SIGNAL, UNITS, {f"{SIGNAL}.calm": "1", f"{SIGNAL}.target": "4", f"{SIGNAL}.critical": "12"}
    ),
    "a temperature in seconds": Bad(SIGNAL, UNITS, {f"{SIGNAL}.preset": "gpu-temperature"}),
    "a target below calm": Bad(SIGNAL, ORDER, {f"{SIGNAL}.calm": "5s"}),
    "durations that only look ordered": Bad(SIGNAL, ORDER, {f"{SIGNAL}.target": "1m"}),
    "a target equal to critical": Bad("spec.metrics.signals.1", ORDER, {"spec.metrics.signals.1.critical": "80.0"}),
    "a power without a scale": Bad(
        "spec.metrics.signals.1",
        "gpu-power has no scale of its own, for what a card may draw differs: give calm, target and critical in watts",
        {
            "spec.metrics.signals.1.preset": "gpu-power",
            "spec.metrics.signals.1.calm": REMOVED,
            "spec.metrics.signals.1.target": REMOVED,
            "spec.metrics.signals.1.critical": REMOVED,
        },
    ),
    "utilization that drives": Bad(
        "spec.metrics.signals.2",
        "gpu-utilization may not drive the level, because limits keep GPUs busy on purpose: set use to Confirm",
        {"spec.metrics.signals.2.use": "Drive"},
    ),
    # levels, capacity
    "a dwell in words": Bad("spec.levels.dwell", "dwell must be a duration", {"spec.levels.dwell": "one minute"}),
    "a dwell of nothing": Bad("spec.levels.dwell", "dwell must be a duration from 1s", {"spec.levels.dwell": "0s"}),
    "capacity without a pool": Bad(
        "spec.capacity.pool", "Required value", {"spec.capacity.pool": REMOVED}, native=True
    ),
    "a calendar that asks for more loans than there may be": Bad(
        "spec.capacity",
        "minLoans of an entry of calendar must not be above maxLoans: lower minLoans or raise maxLoans",
        {"spec.capacity.calendar": [{"schedule": "0 8 * * 1-5", "duration": "10h", "minLoans": 900}]},
    ),
    "a calendar in no time zone": Bad(
        "spec.capacity.calendar[0].timeZone",
        "timeZone must be the IANA name of a time zone, like UTC or Europe/Zurich",
        {
            "spec.capacity.calendar": [
                {"schedule": "0 8 * * *", "duration": "1h", "minLoans": 1, "timeZone": "Central Europe"}
            ]
        },
    ),
    "a calendar that opens at no time": Bad(
        "spec.capacity.calendar[0].schedule",
        "schedule must be five cron fields of numbers, *, lists, ranges and steps",
        {"spec.capacity.calendar": [{"schedule": "weekdays at eight", "duration": "1h", "minLoans": 1}]},
    ),
    "a pool with a dot": Bad("spec.capacity.pool", f"pool must be {NAME}", {"spec.capacity.pool": "in.ference"}),
    "borrowing from oneself": Bad(
        "spec.capacity",
        "borrowFrom may not name the pool that the service runs on",
        {"spec.capacity.borrowFrom": ["inference"]},
    ),
    "borrowing twice from one": Bad(
        "spec.capacity.borrowFrom", "duplicate entries", {"spec.capacity.borrowFrom": ["burst", "burst"]}, native=True
    ),
    "a lender in capitals": Bad(
        "spec.capacity.borrowFrom[0]", f"borrowFrom must be {NAME}", {"spec.capacity.borrowFrom": ["Research"]}
    ),
    "a negative number of loans": Bad(
        "spec.capacity.maxLoans", "greater than or equal to 0", {"spec.capacity.maxLoans": -1}, native=True
    ),
    "too many loans": Bad(
        "spec.capacity.maxLoans", "less than or equal to 1000", {"spec.capacity.maxLoans": 1001}, native=True
    ),
    "a pressure that never comes": Bad(
        "spec.capacity.borrowAtPressure",
        "borrowAtPressure must be a number from 0.1 to 3, in quotes",
        {"spec.capacity.borrowAtPressure": "30"},
    ),
    "a pressure with a comma": Bad(
        "spec.capacity.borrowAtPressure",
        "borrowAtPressure must be a number from 0.1 to 3, in quotes",
        {"spec.capacity.borrowAtPressure": "0,9"},
    ),
    "a return after weeks": Bad(
        "spec.capacity.returnAfter", "returnAfter must be a duration from", {"spec.capacity.returnAfter": "2w"}
    ),
    "GPUs that make nothing": Bad(
        "spec.capacity.imagesPerGPUMinute",
        "imagesPerGPUMinute must be a number from 0.001",
        {"spec.capacity.imagesPerGPUMinute": "0"},
    ),
}
