"""What is generated is fresh, in the repository and in the chart."""

from pathlib import Path

from meltguard.cli.generate import CANONICAL, CHART_COPY, drifted

ROOT = Path(__file__).parents[2]


def test_what_is_generated_is_fresh() -> None:
    assert "".join(drifted(ROOT)) == "", "run `make generate`"


def test_nothing_else_lies_among_them() -> None:
    for folder in (CANONICAL, CHART_COPY):
        assert sorted(path.name for path in (ROOT / folder).iterdir()) == ["gpupools.yaml", "imageservicepolicies.yaml"]
