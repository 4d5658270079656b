"""The files of one run, beside its report."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.errors import InvalidInput

LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where everything of a run is."""

    report: Path
    root: Path  # of the run's other files

    @property
    def audit(self) -> Path:
        """The API server's audit log, JSON lines."""
        return self.root / "audit.jsonl"

    @property
    def journals(self) -> Path:
        """The agents' request journals: a folder a node, a file a pod."""
        return self.root / "journals"

    @property
    def users(self) -> Path:
        """What the users saw, JSON lines."""
        return self.root / "users.jsonl"

    @property
    def endpoints(self) -> Path:
        """Where the gateway may send to."""
        return self.root / "endpoints.json"

    @property
    def picture(self) -> Path:
        """The story in one picture."""
        return self.report.with_suffix(".png")

    @property
    def logs(self) -> Path:
        """What the programs of the plane said."""
        return self.root / "logs"

    def log(self, name: str) -> Path:
        """What one of the demo's own programs says."""
        return self.root / f"{name}.log"

    def setup(self, name: str) -> Path:
        """What one of the demo's own programs is started with."""
        return self.root / f"{name}.json"


@contextmanager
def own_files(report: Path) -> Iterator[RunFiles]:
    """A fresh folder beside the report, ours alone while the body runs; a former run's files there are removed.

    Raises:
        InvalidInput: another demo runs there, or the folder cannot be written.
    """
    root = report.with_suffix(".files")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise InvalidInput(f"cannot write to {root}: {exc.strerror}; name another file with --report") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear(root)
        (root / "journals").mkdir()
        yield RunFiles(report=report, root=root)
    except BlockingIOError as exc:
        raise InvalidInput(f"another demo writes to {root}; name another file with --report") from exc
    finally:
        os.close(lock)


def keep(files: RunFiles, audit: Path, logs: tuple[Path, ...]) -> None:
    """Copy what lies in the plane's directory, which goes with the plane."""
    if audit.exists():
        shutil.copyfile(audit, files.audit)
    for folder in logs:
        if folder.is_dir():
            shutil.copytree(folder, files.logs, dirs_exist_ok=True)


def _clear(root: Path) -> None:
    for old in root.iterdir():
        if old.name == LOCK:
            continue
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink()
