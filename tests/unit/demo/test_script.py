"""What people type in the middle of the demo."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meltguard.cli.plugin import app
from meltguard.demo.script import LOOKS, SHIPS, override

TYPED = [override(12.0), *(look for look in LOOKS if look.startswith("kubectl meltguard "))]


def test_a_person_looks_at_the_policy_asks_why_and_what_is_lent() -> None:
    assert [look.split()[1:3] for look in LOOKS] == [["get", "isp"], ["meltguard", "why"], ["meltguard", "loans"]]


def test_a_developer_ships_the_next_version_as_developers_do() -> None:
    assert SHIPS == "kubectl set image deployment/image-gen -n serving image-server=registry.example.com/image-gen:3.3"


def test_the_override_lasts_as_long_as_the_speed_leaves_it() -> None:
    assert "--tier free --state Suspend --for 15s --reason 'the keynote is live" in override(12.0)
    assert "--for 45s" in override(4.0)


@pytest.mark.parametrize("command", TYPED)
def test_the_plugin_takes_what_is_typed(command: str, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "no-kubeconfig")
    ran = CliRunner().invoke(app, [*shlex.split(command)[2:], "--kubeconfig", nowhere])

    assert nowhere in ran.output  # every word was understood: only the cluster is not there
