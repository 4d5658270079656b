import os
from pathlib import Path

import pytest

from meltguard.errors import InvalidInput
from meltguard.localcluster.detached import Post, State, look, post_of, read_state, take_down, write_state


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MELTGUARD_CACHE", str(tmp_path))
    return tmp_path


def a_state(directory: Path, pids: dict[str, int]) -> State:
    return State(
        directory=directory,
        block=70,
        kubeconfig=directory / "kubeconfig",
        prometheus_url="http://127.70.0.6:9090",
        valkey_url="redis://127.70.0.7:6379/0",
        pids=pids,
        keep_data=False,
    )


@pytest.mark.parametrize("name", ["", "Default", "../etc", "a b", "-x", "x" * 42])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="small letters"):
        post_of(name)


def test_what_the_supervisor_says_is_read_back(tmp_path: Path) -> None:
    post = Post(tmp_path)
    assert read_state(post) is None
    state = a_state(tmp_path / "plane", {"etcd": 1})
    write_state(post, state)
    assert read_state(post) == state


def test_a_plane_that_crashed_does_not_run_and_is_cleaned_up(tmp_path: Path) -> None:
    post = post_of("crashed")
    left = tmp_path / "left"
    left.mkdir()
    write_state(post, a_state(left, {"etcd": 2**22 + 1}))  # above any process id
    assert look("crashed") == []
    assert take_down("crashed") is False
    assert not left.exists()
    assert read_state(post) is None


def test_a_plane_that_never_ran_is_down(cache: Path) -> None:
    assert look("never") == []
    assert take_down("never") is False
    assert os.listdir(cache / "run" / "never") in ([], ["lock"])  # noqa: PTH208 - names only
