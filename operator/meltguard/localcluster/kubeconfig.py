"""Kubeconfig files, written as JSON, which is YAML too."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from meltguard.localcluster.certificates import KeyPair


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An API server and the authority that vouches for it."""

    url: str
    authority: Path


def with_certificate(path: Path, endpoint: Endpoint, pair: KeyPair) -> Path:
    """Write a kubeconfig that speaks with a client certificate; everything is inside the file."""
    user = {"client-certificate-data": _encoded(pair.certificate), "client-key-data": _encoded(pair.key)}
    return _write(path, endpoint, user, "default")


def with_token(path: Path, endpoint: Endpoint, token: str, namespace: str) -> Path:
    """Write a kubeconfig that speaks with a bearer token."""
    return _write(path, endpoint, {"token": token}, namespace)


def _write(path: Path, endpoint: Endpoint, user: dict[str, str], namespace: str) -> Path:
    cluster = {"server": endpoint.url, "certificate-authority-data": _encoded(endpoint.authority)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "user", "namespace": namespace}}],
        "current-context": "local",
    }
    beside = path.with_name(f"{path.name}.new")
    beside.touch(mode=0o600)
    beside.write_text(json.dumps(content, indent=1) + "\n")
    return beside.replace(path)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
