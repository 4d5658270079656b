"""The dashboard's panels: one row a question, each with the queries that answer it."""

from typing import Final

from meltguard.core.policy import Level
from meltguard.monitoring.panel import Kind, Panel, Row

OURS: Final = 'namespace=~"$namespace", policy=~"$policy"'
"""Matches the policies that the dashboard's variables choose."""


LEVELS: Final = tuple(level.label for level in Level)

ROWS: Final = (
    Row(
        title="Is it well?",
        panels=(
            Panel(
                title="Operators that lead",
                text="Exactly one holds the Lease; with none limits hold, and nothing moves.",
                queries=(("sum(meltguard_leader)", "leaders"), ("max(meltguard_epoch)", "epoch")),
            ),
            Panel(
                title="Versions",
                text="What runs; two of them only during an upgrade.",
                queries=(("count(meltguard_build_info) by (version)", "{{version}}"),),
                kind=Kind.NAMES,
            ),
            Panel(
                title="Conditions",
                text="1 where a condition is True. Ready, MetricsAvailable and Enforced should be.",
                queries=(
                    (f'meltguard_condition{{{OURS}, status="True"}}', "{{policy}} {{condition}}"),
                    ("sum(rate(meltguard_loop_failures_total[5m])) by (loop)", "failing passes: {{loop}}"),
                ),
            ),
            Panel(
                title="Loops",
                text="How long ago each loop finished, and how long a pass takes (99th percentile).",
                queries=(
                    ("max(meltguard_loop_age_seconds) by (loop)", "age: {{loop}}"),
                    (
                        "histogram_quantile(0.99, sum(rate(meltguard_loop_seconds_bucket[5m])) by (loop, le))",
                        "p99: {{loop}}",
                    ),
                ),
                unit="s",
            ),
            Panel(
                title="Passes over a service",
                text="What one decision takes, from reading to status (99th percentile); the tick is 2 s.",
                queries=(
                    (
                        f"histogram_quantile(0.99, sum by (le) (rate(meltguard_pass_seconds_bucket{{{OURS}}}[5m])))",
                        "p99",
                    ),
                ),
                unit="s",
            ),
        ),
    ),
    Row(
        title="What was decided?",
        panels=(
            Panel(
                title="Decisions by reason",
                text="What changed in the last five minutes; kubectl meltguard why --history tells it in words.",
                queries=((f"increase(meltguard_decisions_total{{{OURS}}}[5m]) > 0", "{{policy}} {{reason}}"),),
            ),
            Panel(
                title="Events by reason",
                text="Events posted about policies, pools, nodes and pods in the last five minutes.",
                queries=(("sum(increase(meltguard_events_total[5m])) by (reason) > 0", "{{reason}}"),),
            ),
            Panel(
                title="State of each tier",
                text="Open, Delay, Reject or Suspend; the lowest tier goes first.",
                queries=((f"meltguard_tier_state{{{OURS}}} == 1", "{{policy}} {{tier}} {{state}}"),),
                kind=Kind.STATES,
            ),
        ),
    ),
    Row(
        title="How hard is it pressed?",
        panels=(
            Panel(
                title="Pressure",
                text="0.7 calm, 1.0 target, 1.5 critical; the highest driving signal counts.",
                queries=(
                    (f"meltguard_pressure{{{OURS}}}", "{{policy}}"),
                    (f"meltguard_signal_pressure{{{OURS}}}", "{{policy}} {{signal}}"),
                ),
            ),
            Panel(
                title="Level",
                text="0 Normal, 1 Elevated, 2 Overloaded, 3 Critical.",
                queries=((f"meltguard_level{{{OURS}}}", "{{policy}}"),),
                kind=Kind.STATES,
                words=LEVELS,
            ),
            Panel(
                title="Age of the signals",
                text="An old sample is an unknown one.",
                queries=((f"meltguard_signal_age_seconds{{{OURS}}}", "{{policy}} {{signal}}"),),
                unit="s",
            ),
            Panel(
                title="Signals that were unknown",
                text="Passes a second that had to do without a signal.",
                queries=((f"rate(meltguard_signal_unknown_total{{{OURS}}}[5m])", "{{policy}} {{signal}}"),),
            ),
        ),
    ),
    Row(
        title="What is limited, and whom does it hit?",
        panels=(
            Panel(
                title="Demand, limit and admitted, image units a second",
                text="Demand counts refused requests too; no limit is drawn where a tier is open.",
                queries=(
                    (f"meltguard_demand_units_per_second{{{OURS}}}", "demand {{tier}}"),
                    (f"meltguard_limit_units_per_second{{{OURS}}} < +Inf", "limit {{tier}}"),
                    (f"meltguard_admitted_units_per_second{{{OURS}}}", "admitted {{tier}}"),
                    (f"meltguard_capacity_units_per_second{{{OURS}}}", "capacity"),
                ),
            ),
            Panel(
                title="Waits",
                text="The worst pod's 99th percentile, and what waits.",
                queries=(
                    (f"meltguard_wait_p99_seconds{{{OURS}}}", "{{tier}}"),
                    (f"meltguard_waiting_units{{{OURS}}}", "waiting units {{tier}}"),
                ),
                unit="s",
            ),
            Panel(
                title="Refused requests a second",
                text="By tier and reason, from the agents.",
                queries=(
                    (
                        'sum(rate(meltguard_agent_refused_total{namespace=~"$namespace"}[5m])) by (tier, reason)',
                        "{{tier}} {{reason}}",
                    ),
                ),
            ),
            Panel(
                title="Features, updates, overrides",
                text="Share of users who have a feature; 1 while updates wait, and for a trial's stage; overrides.",
                queries=(
                    (f"meltguard_feature_share_ratio{{{OURS}}}", "{{feature}}"),
                    (f"meltguard_rollout_held{{{OURS}}}", "updates held"),
                    (f"meltguard_update_trial{{{OURS}}}", "trial {{stage}}"),
                    (f"meltguard_overrides{{{OURS}}}", "overrides"),
                ),
            ),
        ),
    ),
    Row(
        title="Who lent what?",
        panels=(
            Panel(
                title="Nodes on loan, by step",
                text="From Claimed over Lent to Home.",
                queries=((f"sum(meltguard_loans{{{OURS}}}) by (step)", "{{step}}"),),
            ),
            Panel(
                title="Pools",
                text="Ready nodes at home against the floor, and lent ones.",
                queries=(
                    ("meltguard_pool_nodes", "{{pool}} {{kind}}"),
                    ("meltguard_pool_lendable_nodes", "{{pool}} could"),
                ),
            ),
            Panel(
                title="Ledger, GPU-hours",
                text="Lent so far, and unsaved work that loans cost.",
                queries=(
                    ("meltguard_pool_gpu_hours_lent_total", "{{pool}} lent"),
                    ("meltguard_pool_work_lost_gpu_hours_total", "{{pool}} work lost"),
                ),
            ),
            Panel(
                title="What refuses a loan",
                text="1 for the rule that does.",
                queries=((f"meltguard_borrowing_blocked{{{OURS}}}", "{{rule}}"),),
            ),
        ),
    ),
    Row(
        title="Whose work is disturbed, and what is bought?",
        panels=(
            Panel(
                title="Evictions and steps of moves",
                text="Pods asked to leave, and steps entered, in the last five minutes.",
                queries=(
                    ("sum(increase(meltguard_evictions_total[5m]))", "evictions"),
                    ("sum(increase(meltguard_move_steps_total[5m])) by (step) > 0", "{{step}}"),
                ),
            ),
            Panel(
                title="Nodes bought",
                text="At other providers: on order, and here; 1 while nothing can be ordered.",
                queries=(
                    ("meltguard_provider_nodes", "{{pool}} {{kind}}"),
                    ("meltguard_provider_blocked", "{{pool}} blocked"),
                ),
            ),
            Panel(
                title="Spent at providers",
                text="Booked for today and this month, in the pools' currency.",
                queries=(("meltguard_provider_spend", "{{pool}} {{period}}"),),
            ),
        ),
    ),
    Row(
        title="Do the agents follow?",
        panels=(
            Panel(
                title="Serving pods",
                text="Ready, acknowledged, lagging, without quota store.",
                queries=(
                    (f"meltguard_serving_pods{{{OURS}}}", "ready"),
                    (f"meltguard_acknowledged_pods{{{OURS}}}", "acknowledged"),
                    (f"meltguard_laggards{{{OURS}}}", "lagging"),
                    (f"meltguard_quota_store_down_pods{{{OURS}}}", "without quota store"),
                ),
            ),
            Panel(
                title="Push to acknowledgement",
                text="99th percentile over the pods.",
                queries=(
                    ("histogram_quantile(0.99, sum(rate(meltguard_limit_ack_seconds_bucket[5m])) by (le))", "p99"),
                ),
                unit="s",
            ),
            Panel(
                title="Pushes that failed, a second",
                text="No answer, or a refusal; each is tried again.",
                queries=((f"rate(meltguard_push_failures_total{{{OURS}}}[5m])", "{{policy}}"),),
            ),
            Panel(
                title="Lease left at the agents",
                text="A lease ends by itself 120 s after its push.",
                queries=(("min(meltguard_agent_lease_left)", "shortest"),),
                unit="s",
            ),
        ),
    ),
    Row(
        title="How are the GPUs?",
        panels=(
            Panel(
                title="Hottest GPU",
                text="By node, from the DCGM exporter.",
                queries=(("max(DCGM_FI_DEV_GPU_TEMP < 1000) by (Hostname, hostname)", "{{Hostname}}{{hostname}}"),),
                unit="celsius",
            ),
            Panel(
                title="Busy",
                text="As the exporter says, and as the agents' own counters say.",
                queries=(
                    ("avg(DCGM_FI_DEV_GPU_UTIL <= 100) by (Hostname, hostname) / 100", "{{Hostname}}{{hostname}}"),
                    (f"meltguard_gpu_busy_ratio{{{OURS}}}", "{{policy}}, from the agents"),
                ),
                unit="percentunit",
            ),
        ),
    ),
)


def panel_queries() -> tuple[str, ...]:
    """Every query of the dashboard, with the variables filled for all policies."""
    return tuple(
        query.replace("$namespace", ".*").replace("$policy", ".*")
        for row in ROWS
        for panel in row.panels
        for query, _ in panel.queries
    )
