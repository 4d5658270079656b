"""One small rehearsal, run once for all tests that look at what came of it."""

import pytest

from meltguard.rehearse.rehearsal import Rehearsal
from support.rehearsals import a_plan, run, some_manifests


@pytest.fixture(scope="session")
def surged(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A surge of four minutes at three times what the service's GPUs do, and a quarter of an hour of quiet."""
    return run(a_plan(some_manifests(tmp_path_factory.mktemp("manifests"))))
