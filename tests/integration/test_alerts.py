"""The alert rules, tried by promtool: each fires on what it is for, after its time, and not on a good day."""

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from meltguard.localcluster.binaries import binary
from meltguard.localcluster.progress import progress_on
from meltguard.monitoring.alerts import ALERTS, rules_yaml

POLICY: Final = 'namespace="serving",policy="image-gen"'
GOOD: Final = {
    "meltguard_leader": "1",
    'meltguard_loop_age_seconds{loop="moves"}': "0.5",
    'meltguard_loop_failures_total{loop="moves"}': "0",
    f'meltguard_condition{{{POLICY},condition="MetricsAvailable",status="False"}}': "0",
    f'meltguard_condition{{{POLICY},condition="Stalled",status="True"}}': "0",
    f"meltguard_laggards{{{POLICY}}}": "0",
    f"meltguard_level{{{POLICY}}}": "2",
    f'meltguard_tier_priority{{{POLICY},tier="free"}}': "0",
    f'meltguard_tier_priority{{{POLICY},tier="pro"}}': "20",
    f'meltguard_tier_state{{{POLICY},tier="free",state="Open"}}': "0",
    f'meltguard_tier_state{{{POLICY},tier="pro",state="Open"}}': "1",
    f'meltguard_limit_ack_seconds_bucket{{{POLICY},le="1.0"}}': "rising",
    f'meltguard_limit_ack_seconds_bucket{{{POLICY},le="2.0"}}': "rising",
    f'meltguard_limit_ack_seconds_bucket{{{POLICY},le="+Inf"}}': "rising",
    f"meltguard_serving_pods{{{POLICY}}}": "8",
    'meltguard_agent_lease_left{namespace="serving"}': "100",
    f"meltguard_loans_overdue{{{POLICY}}}": "0",
    f'meltguard_loans{{{POLICY},step="Lent"}}': "3",
    f'meltguard_loans{{{POLICY},step="Draining"}}': "0",
    'meltguard_pool_nodes{pool="research",kind="ready"}': "5",
    'meltguard_pool_nodes{pool="research",kind="floor"}': "4",
    'meltguard_provider_blocked{pool="cloud"}': "0",
    f"meltguard_quota_store_down_pods{{{POLICY}}}": "0",
    'meltguard_agent_token_key_fetches_total{namespace="serving",result="failed"}': "0",
    'meltguard_agent_slots_mended_total{namespace="serving"}': "0",
    f"meltguard_overrides{{{POLICY}}}": "0",
    'DCGM_FI_DEV_GPU_TEMP{Hostname="gpu-02"}': "84",
}
ILL: Final = {
    "MeltguardNoLeader": ("meltguard_leader", "0"),
    "MeltguardLoopStalled": ('meltguard_loop_age_seconds{loop="moves"}', "90"),
    "MeltguardLoopFailing": ('meltguard_loop_failures_total{loop="moves"}', "rising"),
    "MeltguardMetricsUnknown": (f'meltguard_condition{{{POLICY},condition="MetricsAvailable",status="False"}}', "1"),
    "MeltguardNotEnforced": (f"meltguard_laggards{{{POLICY}}}", "2"),
    "MeltguardTopTierLimited": (f'meltguard_tier_state{{{POLICY},tier="pro",state="Open"}}', "0"),
    "MeltguardSlowAcknowledgements": (f'meltguard_limit_ack_seconds_bucket{{{POLICY},le="1.0"}}', "0"),
    "MeltguardAgentsNotScraped": ('meltguard_agent_lease_left{namespace="serving"}', "_"),
    "MeltguardStalled": (f'meltguard_condition{{{POLICY},condition="Stalled",status="True"}}', "1"),
    "MeltguardCriticalForLong": (f"meltguard_level{{{POLICY}}}", "3"),
    "MeltguardLoanOverdue": (f"meltguard_loans_overdue{{{POLICY}}}", "1"),
    "MeltguardMoveStuck": (f'meltguard_loans{{{POLICY},step="Draining"}}', "1"),
    "MeltguardPoolBelowFloor": ('meltguard_pool_nodes{pool="research",kind="ready"}', "3"),
    "MeltguardProviderBlocked": ('meltguard_provider_blocked{pool="cloud"}', "1"),
    "MeltguardQuotaStoreDown": (f"meltguard_quota_store_down_pods{{{POLICY}}}", "8"),
    "MeltguardTokenKeysNotFetched": (
        'meltguard_agent_token_key_fetches_total{namespace="serving",result="failed"}',
        "rising",
    ),
    "MeltguardSlotLost": ('meltguard_agent_slots_mended_total{namespace="serving"}', "rising"),
    "MeltguardOverrideForLong": (f"meltguard_overrides{{{POLICY}}}", "1"),
    "MeltguardGpuHot": ('DCGM_FI_DEV_GPU_TEMP{Hostname="gpu-02"}', "89"),
}
MINUTES: Final = {"m": 1, "h": 60}
SLACK: Final = 2


def minutes(lasting: str) -> int:
    return int(lasting[:-1]) * MINUTES[lasting[-1]]


def case(name: str, asked: list[str], at: int) -> dict[str, Any]:
    """Good values but for what is ill; the alerts in `asked` must fire at that minute, all others never."""
    ill = dict([ILL[name]] if name else [])
    shown = {series: ill.get(series, good) for series, good in GOOD.items()}
    series = [
        {"series": one, "values": f"0+60x{at + SLACK}" if value == "rising" else f"{value}x{at + SLACK}"}
        for one, value in shown.items()
    ]
    tests = [
        {"expr": f'count(ALERTS{{alertstate="firing",alertname="{one}"}})', "eval_time": f"{at}m"} for one in asked
    ]
    others = "|".join(alert.name for alert in ALERTS if alert.name not in asked)
    quiet = {"expr": f'count(ALERTS{{alertstate="firing",alertname=~"{others}"}})', "eval_time": f"{at}m"}
    return {
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [*({**one, "exp_samples": [{"value": 1}]} for one in tests), quiet],
    }


@pytest.fixture(scope="module")
def promtool() -> Path:
    return binary("promtool", progress_on())


def run(promtool: Path, folder: Path, cases: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    (folder / "rules.yaml").write_text(rules_yaml())
    (folder / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": cases}))
    command = [str(promtool), "test", "rules", str(folder / "tests.yaml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_rules_are_sound(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(rules_yaml())
    checked = subprocess.run(
        [str(promtool), "check", "rules", str(tmp_path / "rules.yaml")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_each_alert_fires_on_what_it_is_for_and_no_other_does(promtool: Path, tmp_path: Path) -> None:
    assert ILL.keys() == {alert.name for alert in ALERTS}
    cases = [case(alert.name, [alert.name], 6 + minutes(alert.lasting)) for alert in ALERTS]
    ran = run(promtool, tmp_path, cases)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_nothing_fires_on_a_good_day_or_too_early(promtool: Path, tmp_path: Path) -> None:
    early = [case(alert.name, [], minutes(alert.lasting) - 1) for alert in ALERTS if minutes(alert.lasting) > 1]
    ran = run(promtool, tmp_path, [case("", [], 120), *early])
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_operator_at_all_is_no_leader(promtool: Path, tmp_path: Path) -> None:
    """Nothing is scraped: an alert that needs the series would be silent just then."""
    made = case("MeltguardNoLeader", ["MeltguardNoLeader"], 10)
    made["input_series"] = [one for one in made["input_series"] if one["series"] != "meltguard_leader"]
    ran = run(promtool, tmp_path, [made])
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("series", "value", "fires"),
    [
        ('DCGM_FI_DEV_GPU_TEMP{Hostname="gpu-02"}', "9223372036854775794", False),
        ('DCGM_FI_DEV_GPU_TEMP{hostname="gpu-02"}', "89", True),
    ],
    ids=["a blank that old exporters show", "a new exporter's label"],
)
def test_the_heat_of_any_exporter_is_read(
    promtool: Path, tmp_path: Path, series: str, value: str, *, fires: bool
) -> None:
    made = case("", ["MeltguardGpuHot"] if fires else [], 12)
    made["input_series"] = [one for one in made["input_series"] if "GPU_TEMP" not in one["series"]]
    made["input_series"].append({"series": series, "values": f"{value}x{14}"})
    ran = run(promtool, tmp_path, [made])
    assert ran.returncode == 0, ran.stdout + ran.stderr
