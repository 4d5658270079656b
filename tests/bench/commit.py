"""Which version a report is of."""

import subprocess
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parents[2]


def commit_now() -> str:
    """The commit that is checked out, with `+` where files differ from it; empty where this is no checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()
