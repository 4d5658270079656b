"""The command line as people and pods meet it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from meltguard.api.signed import PublicKeys
from meltguard.cli.main import COMMANDS, app, load
from meltguard.controller.settings import load_keys

LOADED = """
import sys
from typer.testing import CliRunner
from meltguard.cli.main import app
answered = CliRunner().invoke(app, sys.argv[1:])
assert answered.exit_code == 0, answered.output
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"kopf", "kubernetes", "prometheus_api_client"}


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def loaded_by(*arguments: str) -> set[str]:
    """Top-level modules that a call has imported, in a process of its own."""
    command = [sys.executable, "-c", LOADED, *arguments]
    return set(subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout.split())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["agent", "--help"]], ids=" ".join)
def test_the_operators_libraries_are_not_loaded(arguments: list[str]) -> None:
    assert loaded_by(*arguments) & HEAVY == set()


def test_a_rehearsal_loads_no_clusters_library_and_what_draws_or_asks_prometheus_only_when_it_is_to() -> None:
    assert loaded_by("rehearse", "--help") & (HEAVY | {"matplotlib"}) == set()


def test_the_operator_does_load_them() -> None:
    """The test above would pass whatever happens if this one did not hold."""
    assert {"kopf", "kubernetes"} <= loaded_by("operator", "--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_beginning_of_the_commands_own_help(name: str) -> None:
    assert (load(name).help or "").startswith(COMMANDS[name].summary)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_help(name: str) -> None:
    answered = call(name, "--help")
    assert answered.exit_code == 0
    assert "Usage: " in answered.output


def test_the_version_is_the_packages() -> None:
    assert call("--version").output.startswith("meltguard 0.")


def test_a_wrong_input_is_one_line_and_exit_code_2() -> None:
    answered = call("return")
    assert answered.exit_code == 2
    assert answered.stderr == "error: name nodes, or say --all for every lent node; one of the two\n"


def test_what_does_not_answer_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    """Port 9 of loopback: nobody listens."""
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    answered = call("return", "gpu-1", "--kubeconfig", str(path), "--timeout", "1")
    assert answered.exit_code == 1
    assert answered.stderr.startswith("error: ")
    assert "Traceback" not in answered.output


def test_a_mistyped_command_is_recognized() -> None:
    answered = call("opertor")
    assert answered.exit_code == 2
    assert "Did you mean 'operator'" in answered.output


def test_a_new_key_joins_a_secret_and_shows_its_public_half(tmp_path: Path) -> None:
    entries = {"active": "k2"}
    for key_id in ("k1", "k2"):
        entries |= yaml.safe_load(call("keys", "new", "--id", key_id).output)["stringData"]
    for name, text in entries.items():
        (tmp_path / name).write_text(text)
    printed = call("keys", "public", "--signing-keys", str(tmp_path))
    assert printed.exit_code == 0
    assert printed.output.split() == [key.public_text() for key in load_keys(tmp_path)]
    assert [line.partition("=")[0] for line in printed.output.split()] == ["k2", "k1"]
    assert len(PublicKeys.parse(printed.output)) == 2


def test_two_keys_are_never_the_same() -> None:
    assert call("keys", "new", "--id", "k1").output != call("keys", "new", "--id", "k1").output


@pytest.mark.parametrize("key_id", ["active", "", "a=b", "a,b", "a b", "-k", "k" * 64])
def test_an_id_that_would_break_the_secret_or_the_list_is_refused(key_id: str) -> None:
    answered = call("keys", "new", f"--id={key_id}")
    assert answered.exit_code == 2
    assert "cannot name a key" in answered.stderr
