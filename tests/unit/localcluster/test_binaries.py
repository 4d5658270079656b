from pathlib import Path

import pytest

from meltguard.localcluster.binaries import binary, fits
from meltguard.localcluster.catalog import recipe_of
from meltguard.localcluster.progress import SilentProgress

PRINTED = {
    "kube-apiserver": ("Kubernetes v1.36.9", "Kubernetes v1.35.3"),
    "etcd": ("etcd Version: 3.6.1\nGit SHA: abc", "etcd Version: 3.5.21"),
    "kwok": ("kwok version v0.8.1 go1.26", "kwok version v0.7.0"),
    "prometheus": ("prometheus, version 3.1.0 (branch: HEAD)", "prometheus, version 2.42.0+ds"),
    "helm": ("v4.0.1+g1234", "v3.17.0+g301108e"),
}


def a_program(place: Path, printed: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\necho '{printed}'\n")
    place.chmod(0o755)
    return place


@pytest.mark.parametrize("name", PRINTED)
def test_a_foreign_copy_will_do_only_in_the_right_version(name: str, tmp_path: Path) -> None:
    good, bad = PRINTED[name]
    _, program = recipe_of(name)
    assert fits(program, a_program(tmp_path / "good", good))
    assert not fits(program, a_program(tmp_path / "bad", bad))
    assert not fits(program, tmp_path / "missing")


def test_assets_come_before_path_and_path_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = PRINTED["etcd"]
    cached = a_program(tmp_path / "cache" / "bin" / "etcd-v3.6.8" / "etcd", good)
    on_path = a_program(tmp_path / "path" / "etcd", good)
    asset = a_program(tmp_path / "assets" / "etcd", good)
    monkeypatch.setenv("MELTGUARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    monkeypatch.setenv("PATH", f"{on_path.parent}:/usr/bin:/bin")
    assert binary("etcd", SilentProgress()) == asset
    a_program(asset, bad)
    assert binary("etcd", SilentProgress()) == on_path
    on_path.unlink()
    assert binary("etcd", SilentProgress()) == cached


def test_kubectl_and_valkey_come_with_our_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert binary("kubectl", SilentProgress()).name == "kubectl"
    assert binary("valkey-server", SilentProgress()).name == "valkey-server"


def test_an_unknown_program_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        binary("emacs", SilentProgress())
