"""The alert rules: when somebody must look, with the next step and a runbook each."""

from dataclasses import dataclass
from typing import Final

import yaml

RUNBOOKS: Final = "docs/runbooks.md"
"""A path in this repository; the chart's prometheusRule.runbooks puts the address in its place where it is served."""

TOP_TIER: Final = (
    "(meltguard_tier_priority == on (namespace, policy) group_left () "
    "max by (namespace, policy) (meltguard_tier_priority))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One rule."""

    name: str
    query: str
    lasting: str  # how long it must hold
    severity: str  # critical: now; warning: today; info: worth knowing
    summary: str
    step: str  # what to do next


ALERTS: Final = (
    Alert(
        name="MeltguardNoLeader",
        query="sum(meltguard_leader) < 1 or absent(meltguard_leader)",
        lasting="2m",
        severity="critical",
        summary="No operator holds the Lease: limits hold as they are, nothing is borrowed, nothing goes home.",
        step="kubectl get pods,lease -n meltguard-system; look at the operator's log.",
    ),
    Alert(
        name="MeltguardLoopStalled",
        query="max(meltguard_loop_age_seconds) by (loop) > 60",
        lasting="1m",
        severity="critical",
        summary="Loop {{ $labels.loop }} of the operator has not finished a pass for {{ $value | humanizeDuration }}.",
        step="The liveness probe restarts the pod; if it comes again, send the log with the last pass of that loop.",
    ),
    Alert(
        name="MeltguardLoopFailing",
        query="sum(rate(meltguard_loop_failures_total[5m])) by (loop) > 0.05",
        lasting="5m",
        severity="warning",
        summary="Passes of loop {{ $labels.loop }} fail again and again.",
        step="Look for `pass failed` and `pass not finished` in the operator's log: the API server, or a bug.",
    ),
    Alert(
        name="MeltguardMetricsUnknown",
        query='max(meltguard_condition{condition="MetricsAvailable",status="False"}) by (namespace, policy) == 1',
        lasting="5m",
        severity="warning",
        summary="A signal of {{ $labels.namespace }}/{{ $labels.policy }} is unknown, or an agent is not believed.",
        step="The policy's condition MetricsAvailable names the signal or the pod, and the problem.",
    ),
    Alert(
        name="MeltguardNotEnforced",
        query="max(meltguard_laggards) by (namespace, policy) > 0",
        lasting="5m",
        severity="warning",
        summary="{{ $value }} serving pods of {{ $labels.namespace }}/{{ $labels.policy }} do not take their limits.",
        step="kubectl meltguard status POLICY lists the laggards with their cause: network, key, or clock.",
    ),
    Alert(
        name="MeltguardTopTierLimited",
        query=f'meltguard_tier_state{{state="Open"}} == 0 and on (namespace, policy, tier) {TOP_TIER}',
        lasting="2m",
        severity="critical",
        summary="{{ $labels.namespace }}/{{ $labels.policy }} limits {{ $labels.tier }}, the tier that gives way last.",
        step="kubectl meltguard why POLICY: what refuses the next loan, and what would unblock it? All else is spent.",
    ),
    Alert(
        name="MeltguardSlowAcknowledgements",
        query=(
            "histogram_quantile(0.99, sum(rate(meltguard_limit_ack_seconds_bucket[5m])) by (namespace, policy, le)) > 1"
        ),
        lasting="10m",
        severity="warning",
        summary="Serving pods of {{ $labels.namespace }}/{{ $labels.policy }} take long to acknowledge their limits.",
        step="Look at the pods' CPU throttling and at the network between operator and pods (port 9901).",
    ),
    Alert(
        name="MeltguardAgentsNotScraped",
        query=(
            "max(meltguard_serving_pods) by (namespace) > 0 unless on (namespace) "
            "max(meltguard_agent_lease_left) by (namespace)"
        ),
        lasting="15m",
        severity="info",
        summary="Prometheus has no metrics of the agents in {{ $labels.namespace }}: refusals and waits are not drawn.",
        step="Limits do not depend on it. Set podMonitor.enabled and podMonitor.selector of the chart.",
    ),
    Alert(
        name="MeltguardStalled",
        query='max(meltguard_condition{condition="Stalled",status="True"}) by (namespace, policy) == 1',
        lasting="10m",
        severity="warning",
        summary="{{ $labels.namespace }}/{{ $labels.policy }} waits for a person.",
        step="kubectl meltguard status POLICY says for what: a pool that is missing, or another writer of replicas.",
    ),
    Alert(
        name="MeltguardCriticalForLong",
        query="max(meltguard_level) by (namespace, policy) == 3",
        lasting="30m",
        severity="warning",
        summary="{{ $labels.namespace }}/{{ $labels.policy }} has been Critical for half an hour.",
        step="kubectl meltguard why POLICY: what refuses the next loan? More capacity, or lower limits by hand.",
    ),
    Alert(
        name="MeltguardLoanOverdue",
        query="max(meltguard_loans_overdue) by (namespace, policy) > 0",
        lasting="5m",
        severity="critical",
        summary="{{ $value }} nodes lent to {{ $labels.namespace }}/{{ $labels.policy }} are past their return.",
        step="kubectl meltguard loans; kubectl describe node says what holds it; or kubectl meltguard return.",
    ),
    Alert(
        name="MeltguardMoveStuck",
        query='max(meltguard_loans{step!="Lent"}) by (namespace, policy, step) > 0',
        lasting="30m",
        severity="warning",
        summary="{{ $labels.namespace }}/{{ $labels.policy }} has had a node at {{ $labels.step }} for half an hour.",
        step="kubectl meltguard loans -o wide; the Events of the node say what it waits for.",
    ),
    Alert(
        name="MeltguardPoolBelowFloor",
        query='max(meltguard_pool_nodes{kind="ready"}) by (pool) < max(meltguard_pool_nodes{kind="floor"}) by (pool)',
        lasting="3m",
        severity="critical",
        summary="Pool {{ $labels.pool }} has {{ $value }} ready nodes, fewer than its floor.",
        step="Lent nodes come home by themselves after a minute; otherwise nodes are broken: kubectl get nodes.",
    ),
    Alert(
        name="MeltguardProviderBlocked",
        query="max(meltguard_provider_blocked) by (pool) == 1 and on () max(meltguard_level) >= 1",
        lasting="15m",
        severity="warning",
        summary="Nothing can be ordered of the provider of pool {{ $labels.pool }}, while a service is pressed.",
        step="kubectl get gpool POOL -o yaml, status.provider: a spend cap that is reached, or no capacity there.",
    ),
    Alert(
        name="MeltguardQuotaStoreDown",
        query="max(meltguard_quota_store_down_pods) by (namespace, policy) > 0",
        lasting="2m",
        severity="critical",
        summary="{{ $value }} pods of {{ $labels.namespace }}/{{ $labels.policy }} cannot count quotas.",
        step="Tiers with a quota are refused meanwhile: the policy's condition QuotasCounted names the next step.",
    ),
    Alert(
        name="MeltguardTokenKeysNotFetched",
        query='sum(increase(meltguard_agent_token_key_fetches_total{result="failed"}[15m])) by (namespace) > 2',
        lasting="10m",
        severity="warning",
        summary="Agents in {{ $labels.namespace }} cannot fetch the keys of the tokens' issuer; the last ones count.",
        step="Look for `token keys not fetched` in an agent's log: the issuer, the network, or the file.",
    ),
    Alert(
        name="MeltguardSlotLost",
        query="sum(increase(meltguard_agent_slots_mended_total[1h])) by (namespace) > 0",
        lasting="1m",
        severity="warning",
        summary="An agent in {{ $labels.namespace }} took back a slot that its request had not given back.",
        step="It is a bug and needs no other act: report the agent's log from before `outlived its request`.",
    ),
    Alert(
        name="MeltguardOverrideForLong",
        query="max(meltguard_overrides) by (namespace, policy) > 0",
        lasting="12h",
        severity="info",
        summary="A person's override on {{ $labels.namespace }}/{{ $labels.policy }} has held for twelve hours.",
        step="kubectl meltguard status POLICY says whose and why; kubectl meltguard override POLICY --remove ends it.",
    ),
    Alert(
        name="MeltguardGpuHot",
        query="max(DCGM_FI_DEV_GPU_TEMP < 1000) by (Hostname, hostname) > 87",
        lasting="5m",
        severity="warning",
        summary="A GPU of {{ $labels.Hostname }}{{ $labels.hostname }} is at {{ $value }} C and slows itself down.",
        step="Look at its cooling; cordon the node if it stays so. Meltguard takes the lower capacity into account.",
    ),
)


def rules_yaml() -> str:
    """The rules as Prometheus reads them."""
    group = {"name": "meltguard", "rules": [_rule(alert) for alert in ALERTS]}
    return yaml.safe_dump({"groups": [group]}, sort_keys=False, width=120)


def _rule(alert: Alert) -> dict[str, object]:
    return {
        "alert": alert.name,
        "expr": alert.query,
        "for": alert.lasting,
        "labels": {"severity": alert.severity},
        "annotations": {
            "summary": alert.summary,
            "description": alert.step,
            "runbook_url": f"{RUNBOOKS}#{alert.name.lower()}",
        },
    }
