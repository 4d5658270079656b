from pathlib import Path

import pytest

from meltguard.demo.files import keep, own_files
from meltguard.errors import InvalidInput


def test_a_runs_files_lie_beside_its_report(tmp_path: Path) -> None:
    with own_files(tmp_path / "out" / "report.json") as files:
        assert files.root == tmp_path / "out" / "report.files"
        assert files.journals.is_dir()


def test_a_former_runs_files_are_removed(tmp_path: Path) -> None:
    with own_files(tmp_path / "report.json") as files:
        files.users.write_text("old")
        (files.journals / "gpu-01").mkdir()
    with own_files(tmp_path / "report.json") as files:
        assert not files.users.exists()
        assert list(files.journals.iterdir()) == []


def test_two_demos_do_not_share_files(tmp_path: Path) -> None:
    with (
        own_files(tmp_path / "report.json"),
        pytest.raises(InvalidInput, match="another demo"),
        own_files(tmp_path / "report.json"),
    ):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInput, match="--report"), own_files(tmp_path / "file" / "report.json"):
        pass


def test_what_goes_with_the_plane_is_copied(tmp_path: Path) -> None:
    plane = tmp_path / "plane"
    (plane / "logs").mkdir(parents=True)
    (plane / "audit.jsonl").write_text("{}\n")
    (plane / "logs" / "etcd.log").write_text("words")
    with own_files(tmp_path / "report.json") as files:
        keep(files, plane / "audit.jsonl", (plane / "logs", plane / "nothing"))

        assert files.audit.read_text() == "{}\n"
        assert (files.logs / "etcd.log").read_text() == "words"
