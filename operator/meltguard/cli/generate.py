"""`meltguard generate`: writes the files that follow from the models, or tells which have drifted."""

from collections.abc import Iterator, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import Annotated, Final

import typer

from meltguard.api.crd import RESOURCES, crd_text
from meltguard.monitoring.alerts import rules_yaml
from meltguard.monitoring.dashboard import dashboard_json

CANONICAL: Final = Path("crds")
CHART_COPY: Final = Path("charts/meltguard/files/crds")
MONITORING: Final = Path("deploy/monitoring")
CHART_MONITORING: Final = Path("charts/meltguard/files/monitoring")
DRIFTED: Final = 1
NO_REPOSITORY: Final = 2


def generate(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 and show what differs.")] = False,
    root: Annotated[Path, typer.Option(help="Root of the repository.")] = Path(),
) -> None:
    """Write the CRDs, the dashboard and the alert rules, each with its copy in the chart."""
    if not (root / "pyproject.toml").is_file():
        typer.echo(
            f"error: {root.resolve()} is no checkout of meltguard: run this in its root, or give --root", err=True
        )
        raise typer.Exit(NO_REPOSITORY)
    drift = "".join(drifted(root))
    if check:
        typer.echo(drift or "generated files are fresh")
        raise typer.Exit(DRIFTED if drift else 0)
    for path, text in generated_files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    typer.echo("\n".join(f"wrote {path}" for path in generated_files()))


def generated_files() -> Mapping[Path, str]:
    """Every generated file's text, by path below the repository's root."""
    crds = {
        folder / f"{resource.plural}.yaml": crd_text(resource)
        for resource in RESOURCES
        for folder in (CANONICAL, CHART_COPY)
    }
    watched = {
        folder / name: text
        for name, text in (("meltguard.rules.yaml", rules_yaml()), ("meltguard.dashboard.json", dashboard_json()))
        for folder in (MONITORING, CHART_MONITORING)
    }
    return {**crds, **watched}


def drifted(root: Path) -> Iterator[str]:
    """Unified diffs of the files that are not as they would be written now; none where all are fresh."""
    for path, wanted in generated_files().items():
        found = (root / path).read_text(encoding="utf-8") if (root / path).is_file() else ""
        yield "".join(
            unified_diff(found.splitlines(True), wanted.splitlines(True), f"{path} (found)", f"{path} (wanted)")
        )
