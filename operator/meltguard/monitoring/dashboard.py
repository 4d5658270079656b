"""The Grafana dashboard, from the panels."""

import json
from collections.abc import Mapping
from typing import Any, Final

from meltguard.monitoring.panel import Kind, Panel
from meltguard.monitoring.panels import ROWS

WIDTH, HEIGHT = 24, 8
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
LEGEND: Final = {"displayMode": "list", "placement": "bottom"}
OPTIONS: Final[Mapping[Kind, dict[str, Any]]] = {
    Kind.LINES: {"legend": LEGEND, "tooltip": {"mode": "multi"}},
    Kind.STATES: {"legend": LEGEND, "mergeValues": True, "showValue": "auto"},
    Kind.NAMES: {"textMode": "name", "colorMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}},
}


def dashboard_json() -> str:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append({"type": "row", "title": row.title, "gridPos": _place(0, top, WIDTH, 1), "panels": []})
        width = WIDTH // len(row.panels)
        panels += [
            _graph(panel, _place(number * width, top + 1, width, HEIGHT)) for number, panel in enumerate(row.panels)
        ]
        top += 1 + HEIGHT
    for number, panel in enumerate(panels, start=1):
        panel["id"] = number
    made = {
        "title": "Meltguard",
        "uid": "meltguard",
        "tags": ["meltguard"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _variable("namespace"), _variable("policy")]},
        "panels": panels,
    }
    return json.dumps(made, indent=2) + "\n"


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _graph(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    return {
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.text,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "mappings": _words(panel)}, "overrides": []},
        "options": OPTIONS[panel.kind],
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for number, (query, legend) in enumerate(panel.queries)
        ],
    }


def _words(panel: Panel) -> list[dict[str, Any]]:
    named = {str(value): {"text": word, "index": value} for value, word in enumerate(panel.words)}
    return [{"type": "value", "options": named}] if named else []


def _source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _variable(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values(meltguard_level, {name})",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }
