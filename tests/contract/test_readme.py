"""What the README tells people to type exists, and its policy is one."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from meltguard.api.policy import ImageServicePolicy
from meltguard.cli.main import COMMANDS, app
from meltguard.core.level import ENTER, LEAVE
from meltguard.core.units import TierName

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKE = re.compile(r"^make ([a-z]+)(?: ARGS=\"([^\"]*)\")?", re.MULTILINE)
PATHS = re.compile(r"(?:charts|deploy|docs|crds|operator|tests)/[\w./-]*\w")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def the_policy() -> ImageServicePolicy:
    [text] = blocks("yaml")
    return ImageServicePolicy.model_validate(yaml.safe_load(text))


def test_the_policy_is_accepted() -> None:
    tiers = the_policy().spec.tiers
    assert [tier.name for tier in tiers] == [TierName("free"), TierName("plus")]


def test_the_ladder_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| (Elevated|Overloaded|Critical) \| ([\d.]+) \| ([\d.]+) \|", README, re.MULTILINE)
    told = {level: (float(begins), float(ends)) for level, begins, ends in rows}
    assert told == {level.label: (at, round(LEAVE * at, 2)) for level, at in ENTER.items()}


def test_the_two_commands_come_first() -> None:
    assert [target for target, _ in MAKE.findall(blocks("sh")[0])] == ["demo", "test"]


@pytest.mark.parametrize("target", sorted({target for target, _ in MAKE.findall("\n".join(blocks("sh")))}))
def test_a_target_exists(target: str) -> None:
    asked = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize("options", [options for _, options in MAKE.findall("\n".join(blocks("sh"))) if options])
def test_the_demo_knows_these_options(options: str) -> None:
    answered = CliRunner().invoke(app, ["demo", *shlex.split(options), "--help"])
    assert answered.exit_code == 0, answered.output
    known = CliRunner().invoke(app, ["demo", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert [word for word in shlex.split(options) if word.startswith("--") and word not in known] == []


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(?:\.venv/bin/)?meltguard ([a-z]+)", README))))
def test_a_command_exists(command: str) -> None:
    assert command in COMMANDS


@pytest.mark.parametrize("path", sorted(set(PATHS.findall(README))))
def test_a_path_exists(path: str) -> None:
    assert (ROOT / path).exists()
