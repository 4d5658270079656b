"""The build, with a stand-in for the Go compiler: a script that takes the same arguments and leaves the same files."""

import threading
from pathlib import Path

import pytest

from meltguard.errors import Unavailable
from meltguard.localcluster.build import build, built_directory, how_far, link_flags
from meltguard.localcluster.catalog import ETCD, KUBERNETES, RECIPES
from meltguard.localcluster.progress import SilentProgress

GO = """#!/bin/sh
if [ "$1" = version ]; then echo 'go version go1.26.8 linux/amd64'; exit 0; fi
echo run >> {runs}
while [ "$1" != -o ]; do shift; done
{body}
"""
WORKS = "sleep 1; echo program > $2/server"
NO_NETWORK = "echo 'go: example.org/x: dial tcp: lookup failed'; exit 1"


class Heard(SilentProgress):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def begin(self, what: str) -> None:
        """Keep it."""
        self.begun.append(what)


def a_compiler(place: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `go` on PATH; the file of the result has a line for each build."""
    place.mkdir()
    go = place / "go"
    go.write_text(GO.format(runs=place / "runs", body=body))
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return place / "runs"


def test_what_is_built_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = a_compiler(tmp_path / "tools", WORKS, monkeypatch)
    cache = tmp_path / "cache"
    cache.mkdir()
    for _ in range(2):
        built = build(ETCD, cache, SilentProgress())
        assert (built / "etcd").read_text() == "program\n"
    assert runs.read_text() == "run\n"
    assert [left.name for left in (cache / "build").iterdir()] == ["etcd-v3.6.8.log"]


def test_two_at_once_wait_for_one_another_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = a_compiler(tmp_path / "tools", WORKS, monkeypatch)
    cache = tmp_path / "cache"
    cache.mkdir()
    heard = [Heard(), Heard()]
    threads = [threading.Thread(target=build, args=(ETCD, cache, one)) for one in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert runs.read_text() == "run\n"
    told = [line for one in heard for line in one.begun]
    assert sum("another process is building" in line for line in told) == 1
    assert sum(line.startswith("building etcd") for line in told) == 1


def test_a_failed_build_leaves_nothing_and_names_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_compiler(tmp_path / "tools", NO_NETWORK, monkeypatch)
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(Unavailable, match=r"(?s)dial tcp.*whole output is in.*GOPROXY"):
        build(ETCD, cache, SilentProgress())
    assert not built_directory(ETCD, cache).exists()


def test_every_recipe_is_pinned_by_hash_and_names_its_packages() -> None:
    for recipe in RECIPES:
        assert (recipe.directory() / "go.sum").stat().st_size > 1000
        module = (recipe.directory() / "go.mod").read_text()
        assert recipe.version in module
        for program in recipe.programs:
            assert f"\t{program.package}\n" in module or f"tool {program.package}\n" in module


def test_the_linker_is_told_the_version() -> None:
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.3" in link_flags(KUBERNETES)


def test_progress_counts_what_go_prints(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("go: downloading a v1\ngo: downloading b v1\na/b\nc\n# warning\n")
    assert how_far(log) == "2 modules fetched, 2 packages compiled"
