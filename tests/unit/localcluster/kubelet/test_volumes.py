import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meltguard.localcluster.kubelet.refusal import NotNow
from meltguard.localcluster.kubelet.shapes import Pod
from meltguard.localcluster.kubelet.volumes import places_of, write_volumes


def a_pod(volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> Pod:
    container = {"name": "c", "volumeMounts": mounts}
    return msgspec.convert({"metadata": {"name": "a"}, "spec": {"containers": [container], "volumes": volumes}}, Pod)


POD = a_pod(
    [
        {"name": "config", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys", "items": [{"key": "private", "path": "sub/key.pem"}]}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "kube-api-access-x", "projected": {}},
    ],
    [
        {"name": "config", "mountPath": "/etc/config.yaml", "subPath": "config.yaml"},
        {"name": "keys", "mountPath": "/keys"},
        {"name": "kube-api-access-x", "mountPath": "/var/run/secrets"},
    ],
)


def test_every_mount_has_a_place(tmp_path: Path) -> None:
    assert places_of(POD, tmp_path) == {
        "/etc/config.yaml": tmp_path / "config" / "config.yaml",
        "/keys": tmp_path / "keys",
    }


def test_files_are_private_and_follow_their_objects(tmp_path: Path) -> None:
    write_volumes(POD, tmp_path, {"settings": {"config.yaml": b"a: 1", "old": b""}}, {"keys": {"private": b"k"}})
    assert (tmp_path / "config" / "config.yaml").read_bytes() == b"a: 1"
    assert (tmp_path / "keys" / "sub" / "key.pem").read_bytes() == b"k"
    assert stat.S_IMODE((tmp_path / "keys" / "sub" / "key.pem").stat().st_mode) == 0o600
    (tmp_path / "scratch" / "own").write_text("the container's")
    unchanged = (tmp_path / "keys" / "sub" / "key.pem").stat().st_mtime_ns
    write_volumes(POD, tmp_path, {"settings": {"config.yaml": b"a: 2"}}, {"keys": {"private": b"k"}})
    assert (tmp_path / "config" / "config.yaml").read_bytes() == b"a: 2"
    assert not (tmp_path / "config" / "old").exists()
    assert (tmp_path / "scratch" / "own").exists()
    assert (tmp_path / "keys" / "sub" / "key.pem").stat().st_mtime_ns == unchanged


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotNow, match="ConfigMap settings"):
        write_volumes(POD, tmp_path, {}, {"keys": {"private": b"k"}})
    with pytest.raises(NotNow, match="Secret keys has no key 'private'"):
        write_volumes(POD, tmp_path, {"settings": {}}, {"keys": {}})


def test_what_is_optional_may_be_missing(tmp_path: Path) -> None:
    pod = a_pod([{"name": "config", "configMap": {"name": "settings", "optional": True}}], [])
    write_volumes(pod, tmp_path, {}, {})
    assert (tmp_path / "config").is_dir()
