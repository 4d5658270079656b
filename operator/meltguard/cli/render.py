"""What is generated for installing: plain manifests, the chart's schema and documents, the image's lock."""

import re
import subprocess
from pathlib import Path
from typing import Annotated, Final

import typer
import yaml

from meltguard.cli.chart_rights import rights_of, rights_table
from meltguard.cli.chart_values import described_schema, read_values, values_table
from meltguard.cli.image_lock import image_lock
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, MeltguardError, Unavailable
from meltguard.localcluster.binaries import binary
from meltguard.localcluster.progress import progress_on

RELEASE: Final = "meltguard"
NAMESPACE: Final = "meltguard-system"
HELM_LIMIT: Final = Seconds(120.0)
PLAIN_HEAD: Final = f"""\
# Generated from charts/meltguard by `make generate`. Do not edit.
# For those who do not use Helm. Build the image (deploy/Dockerfile), make the signing key once, then apply:
#   kubectl create namespace {NAMESPACE}
#   kubectl -n {NAMESPACE} create secret generic {RELEASE}-signing-keys --from-literal=active=k1 \\
#     --from-literal=k1="$(head -c 32 /dev/urandom | base64)"
#   kubectl apply --server-side -f deploy/operator.yaml
# Before deleting it, bring every node home: `meltguard return --all`. Delete neither the ValidatingAdmissionPolicy
# {RELEASE}-fence nor its binding if you mean to install again: see docs/security.md.
---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""


def generated(root: Path, helm: Path) -> dict[Path, str]:
    """Every generated file below a checkout, with the text that it must have.

    Raises:
        InvalidInput: the chart or its documents are wrong; the text says where.
        Unavailable: helm could not be run.
    """
    chart = root / "charts" / "meltguard"
    plain = helm_template(helm, chart, f"signingKeys.existingSecret={RELEASE}-signing-keys")
    values = read_values((chart / "values.yaml").read_text())
    schema, readme, security = chart / "values.schema.json", chart / "README.md", root / "docs" / "security.md"
    rights = rights_table(rights_of([document for document in yaml.safe_load_all(plain) if document]))
    return {
        root / "deploy" / "operator.yaml": PLAIN_HEAD + _tidy(plain),
        root / "deploy" / "requirements.lock": image_lock(
            (root / "pyproject.toml").read_text(), (root / "requirements.lock").read_text()
        ),
        schema: described_schema(schema.read_text(), values),
        readme: _between_marks(readme, "values", values_table(values)),
        security: _between_marks(security, "rights", rights),
    }


def helm_template(helm: Path, chart: Path, *values: str) -> str:
    """The chart's manifests without its hooks; `values` as `--set` takes them.

    Raises:
        InvalidInput: helm refuses the chart.
        Unavailable: helm could not be run, or took too long.
    """
    flags = [part for value in values for part in ("--set", value)]
    command = [str(helm), "template", RELEASE, str(chart), "--namespace", NAMESPACE, "--no-hooks", *flags]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=HELM_LIMIT, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"cannot run {helm}: {exc}; give another one with --helm") from exc
    if ran.returncode != 0:
        raise InvalidInput(f"helm refuses {chart}: {ran.stderr.strip()}")
    return ran.stdout


def render(
    root: Annotated[Path, typer.Option(help="The checkout.")] = Path(),
    helm: Annotated[Path | None, typer.Option(help="The helm to use; looked up, or built, unless given.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not as it must be.")] = False,
) -> None:
    """Write deploy/operator.yaml, the chart's schema and README, the table of rights, and the image's lock."""
    try:
        files = generated(root, helm or binary("helm", progress_on()))
    except MeltguardError as exc:
        typer.echo(f"error: {exc}", err=True)
        raise typer.Exit(2) from exc
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    if check and stale:
        typer.echo(f"stale: {', '.join(map(str, stale))}; run `make generate`", err=True)
        raise typer.Exit(1)
    for path in stale:
        path.write_text(files[path])
        typer.echo(f"wrote {path}")


def _tidy(manifests: str) -> str:
    """Without helm's remarks, its labels, and the empty lines between objects, which differ from version to version."""
    foreign = re.compile(r"^\s*(# Source: .*|app\.kubernetes\.io/managed-by: Helm|helm\.sh/chart: .*)\n", re.MULTILINE)
    objects = re.split(r"^---\n", foreign.sub("", manifests), flags=re.MULTILINE)
    return "".join(f"---\n{text.strip()}\n" for text in objects if text.strip())


def _between_marks(document: Path, name: str, table: str) -> str:
    """The document's text with the table between its two marks."""
    text = document.read_text()
    pattern = re.compile(rf"(<!-- {name}: generated[^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)
    replaced, found = pattern.subn(lambda marks: f"{marks[1]}{table}\n{marks[2]}", text)
    if found != 1:
        raise InvalidInput(f"{document} needs one `<!-- {name}: generated -->` with an `<!-- end -->` after it")
    return replaced


if __name__ == "__main__":
    typer.run(render)
