"""What is drawn and alerted on exists, and whoever is alerted finds what to do."""

import json
import re
from pathlib import Path

import pytest
import yaml

from meltguard.agent.agent import Agent
from meltguard.agent.metrics import registry_of
from meltguard.controller.telemetry import Telemetry
from meltguard.demo.dcgm import METRICS
from meltguard.monitoring.alerts import ALERTS, rules_yaml
from meltguard.monitoring.dashboard import dashboard_json
from meltguard.monitoring.metrics import metrics_in, selectors_in
from meltguard.monitoring.panels import ROWS, panel_queries
from support.agents import ManualClock, agent_settings

RUNBOOKS = (Path(__file__).parents[3] / "docs" / "runbooks.md").read_text(encoding="utf-8")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def exposed() -> set[str]:
    """Every series name that the operator, the agents and the DCGM exporter can show, as Prometheus stores it."""
    registries = (Telemetry().registry, registry_of(Agent(agent_settings(), ManualClock(), None)))
    families = [family for registry in registries for family in registry.collect()]
    return {f"{family.name}{end}" for family in families for end in SUFFIXES[family.type]} | {
        metric.name for metric in METRICS
    }


@pytest.mark.parametrize("query", [*panel_queries(), *(alert.query for alert in ALERTS)])
def test_every_query_asks_for_metrics_that_there_are(query: str) -> None:
    assert metrics_in(query), "it asks for none of ours"
    assert metrics_in(query) <= exposed()


@pytest.mark.parametrize("query", panel_queries())
def test_a_panel_without_data_is_empty(query: str) -> None:
    assert "vector(" not in query, "it would show something where its metric is missing"


def test_a_selector_is_asked_for_with_its_labels() -> None:
    assert selectors_in('sum(meltguard_loans{step!="Lent"}) by (step) > 0 or absent(meltguard_leader)') == {
        'meltguard_loans{step!="Lent"}',
        "meltguard_leader",
    }


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_a_runbook_and_a_next_step(alert: object) -> None:
    assert f"## {alert.name}\n" in RUNBOOKS  # type: ignore[attr-defined]
    rule = next(one for one in yaml.safe_load(rules_yaml())["groups"][0]["rules"] if one["alert"] == alert.name)  # type: ignore[attr-defined]
    anchor = rule["annotations"]["runbook_url"].partition("#")[2]
    assert anchor == re.sub(r"[^a-z0-9-]", "", alert.name.lower())  # type: ignore[attr-defined]
    assert rule["annotations"]["description"].endswith(".")


def test_no_runbook_is_left_over() -> None:
    assert set(re.findall(r"^## (\w+)$", RUNBOOKS, re.MULTILINE)) == {alert.name for alert in ALERTS}


def test_the_dashboard_has_every_panel_once_and_none_overlap() -> None:
    panels = json.loads(dashboard_json())["panels"]
    graphs = [panel for panel in panels if panel["type"] != "row"]
    assert [panel["title"] for panel in graphs] == [panel.title for row in ROWS for panel in row.panels]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells
        assert place["x"] + place["w"] <= 24
        taken |= cells
