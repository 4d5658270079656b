"""The shape of the tree: what may exist, how long a file and a function may be."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "operator" / "meltguard"
FILE_LINES, FUNCTION_LINES = 300, 40
Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def length(function: Function) -> int:
    """Its lines, without the docstring."""
    first = function.body[0]
    text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    documentation = (first.end_lineno or 0) - first.lineno + 1 if text else 0
    return (function.end_lineno or 0) - function.lineno + 1 - documentation


def functions(source: str) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def test_operator_is_a_source_root_and_no_package() -> None:
    """A package of that name would shadow the standard library's module for whoever starts Python here."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_every_folder_of_the_source_is_a_package() -> None:
    folders = {path.parent for path in SOURCES.rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_test_folder_is_a_package() -> None:
    """Pytest imports by path; a package would let two files of one name collide."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_file_is_too_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in python_files("operator", "tests")}
    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES} == {}


@pytest.mark.parametrize("folder", ["operator", "tests"])
def test_no_function_is_too_long(folder: str) -> None:
    found = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}": length(function)
        for path in python_files(folder)
        for function in functions(path.read_text())
    }
    assert {name: lines for name, lines in found.items() if lines > FUNCTION_LINES} == {}


def test_the_length_of_a_function_leaves_its_docstring_out() -> None:
    source = 'def f(\n    a: int,\n) -> int:\n    """One.\n\n    Two.\n    """\n    return a\n'
    assert [length(function) for function in functions(source)] == [4]


def test_ci_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
