"""What is typed at the demo's terminal, and what is shown of it."""

import os
from pathlib import Path

import pytest

from meltguard.demo.shell import Shell, shell_of
from meltguard.errors import Unavailable


def a_program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def a_shell(folder: Path, said: list[str]) -> Shell:
    return Shell(kubeconfig=folder / "kubeconfig", folders=(folder,), say=said.append)


async def test_a_command_is_shown_as_it_was_typed_with_its_answer(tmp_path: Path) -> None:
    a_program(tmp_path, "kubectl", 'echo "got: $4"; echo "with $KUBECONFIG" >&2')
    said: list[str] = []
    await a_shell(tmp_path, said).types("kubectl meltguard override --reason 'two words'")

    assert said == [f"$ kubectl meltguard override --reason 'two words'\ngot: two words\nwith {tmp_path}/kubeconfig"]


async def test_a_plugin_is_found_beside_kubectl(tmp_path: Path) -> None:
    a_program(tmp_path, "kubectl", 'exec "kubectl-$1"')
    a_program(tmp_path, "kubectl-meltguard", "echo plugin")
    said: list[str] = []
    await a_shell(tmp_path, said).types("kubectl meltguard")

    assert said == ["$ kubectl meltguard\nplugin"]


async def test_a_command_that_fails_is_said_with_its_words(tmp_path: Path) -> None:
    a_program(tmp_path, "kubectl", "echo no such policy; exit 2")

    with pytest.raises(Unavailable, match="ended with 2: no such policy"):
        await a_shell(tmp_path, []).types("kubectl get isp")


async def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no-such-program"):
        await a_shell(tmp_path, []).types("no-such-program x")


def test_the_shells_plugin_is_the_one_beside_this_python(tmp_path: Path) -> None:
    shell = shell_of(tmp_path / "bin" / "kubectl", tmp_path, print)

    assert shell.folders[0] == tmp_path / "bin"
    assert os.access(shell.folders[1] / "python", os.X_OK)
