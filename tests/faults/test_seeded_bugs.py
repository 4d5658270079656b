"""Every seeded bug can still be planted: a source that moved on must not make `make mutants` end with an error."""

from pathlib import Path

import pytest

from faults.mutants import planted
from faults.seeded_bugs import BUGS, Bug


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_its_text_stands_once_in_the_source(bug: Bug, tmp_path: Path) -> None:
    tree = planted(bug, tmp_path)
    for file, _, new in bug.edits:
        assert new in (tree / "meltguard" / file).read_text(encoding="utf-8")
        compile((tree / "meltguard" / file).read_text(encoding="utf-8"), file, "exec")
