"""The operator, installed as people install it: the chart, by helm, on the plane."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from meltguard.core.units import Seconds
from meltguard.demo.scene import OPERATOR, POOL_KEY
from meltguard.errors import InvalidInput, Unavailable
from meltguard.localcluster.plane import Plane

RELEASE: Final = "meltguard"
IDENTITY: Final = f"system:serviceaccount:{OPERATOR}:{RELEASE}"
"""The user name that the API server knows the operator by."""

HELM_LIMIT: Final = Seconds(90.0)
FOLDERS_UP: Final = 3
"""From this file's folder to the checkout: operator/meltguard/demo/ lie in it."""


def chart() -> Path:
    """The chart in this checkout.

    Raises:
        InvalidInput: this package is not in a checkout.
    """
    folder = Path(__file__).resolve().parents[FOLDERS_UP] / "charts" / "meltguard"
    if not (folder / "Chart.yaml").is_file():
        raise InvalidInput(f"there is no chart at {folder}; run the demo from a checkout of Meltguard (`make demo`)")
    return folder


def values(plane: Plane) -> dict[str, Any]:
    """What differs from the chart's defaults here."""
    return {
        "replicas": 1,
        "nodeLabelKeys": [POOL_KEY],
        "config": {"metricSources": {"default": {"url": plane.prometheus_url}}},
    }


def install(plane: Plane, helm: Path, directory: Path) -> None:
    """Install the chart; returns when the API server has taken all of it, before the operator runs.

    Raises:
        InvalidInput: helm or the API server refuses the chart.
        Unavailable: helm could not be run, or took too long.
    """
    written = directory / "values.json"
    written.write_text(json.dumps(values(plane), indent=1), encoding="utf-8")
    command = [
        *(str(helm), "install", RELEASE, str(chart()), "--namespace", OPERATOR, "--create-namespace"),
        *("--kubeconfig", str(plane.kubeconfig), "--values", str(written)),
    ]
    own = {f"HELM_{place}_HOME": str(directory / "helm") for place in ("CACHE", "CONFIG", "DATA")}
    try:
        ran = subprocess.run(  # noqa: S603 - helm, found or built by us
            command, capture_output=True, text=True, timeout=HELM_LIMIT, check=False, env={**os.environ, **own}
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"cannot run {helm}: {exc}; run the demo again") from exc
    if ran.returncode != 0:
        raise InvalidInput(f"helm did not install {chart()}: {ran.stderr.strip() or ran.stdout.strip()}")
