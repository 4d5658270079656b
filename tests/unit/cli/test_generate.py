from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from meltguard.cli.generate import CANONICAL, CHART_COPY, generate, generated_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def run(root: Path, *options: str) -> Result:
    app = typer.Typer()
    app.command()(generate)
    return CliRunner().invoke(app, ["--root", str(root), *options])


def test_it_writes_the_definitions_and_their_copy(root: Path) -> None:
    assert run(root).exit_code == 0
    for name in ("imageservicepolicies.yaml", "gpupools.yaml"):
        assert (root / CANONICAL / name).read_bytes() == (root / CHART_COPY / name).read_bytes()
        assert b"CustomResourceDefinition" in (root / CANONICAL / name).read_bytes()


def test_fresh_files_pass_the_check(root: Path) -> None:
    run(root)
    checked = run(root, "--check")
    assert checked.exit_code == 0
    assert "fresh" in checked.output


def test_a_drifted_file_fails_the_check_and_is_left_alone(root: Path) -> None:
    run(root)
    drifted = root / CHART_COPY / "gpupools.yaml"
    drifted.write_text(drifted.read_text().replace("gpool", "pool"))
    checked = run(root, "--check")
    assert checked.exit_code == 1
    assert "-    - pool\n+    - gpool" in checked.output
    assert "gpool" not in drifted.read_text()


def test_missing_files_fail_the_check_and_are_not_made(root: Path) -> None:
    assert run(root, "--check").exit_code == 1
    assert not any((root / path).exists() for path in generated_files())


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert ran.exit_code == 2
    assert "give --root" in ran.output
    assert list(tmp_path.iterdir()) == []
