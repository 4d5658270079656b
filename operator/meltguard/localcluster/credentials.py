"""Every identity of a plane: its certificates and kubeconfigs."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.localcluster.addresses import AddressBlock
from meltguard.localcluster.asking import client_tls
from meltguard.localcluster.certificates import Authority, Identity, KeyPair, signing_key
from meltguard.localcluster.kubeconfig import Endpoint, with_certificate
from meltguard.localcluster.ports import API_SERVER

RUNNER_NODE: Final = "local-runner"
CLIENTS: Final = {
    "admin": Identity(name="meltguard-local-admin", groups=("system:masters",)),
    "controller-manager": Identity(name="system:kube-controller-manager"),
    "scheduler": Identity(name="system:kube-scheduler"),
    "kwok": Identity(name="kwok", groups=("system:masters",)),
    "runner": Identity(name=f"system:node:{RUNNER_NODE}", groups=("system:nodes",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who is who."""

    authority: Path  # the certificate that vouches for all
    endpoint: Endpoint
    etcd: KeyPair
    api_server: KeyPair
    servers: KeyPair  # what the other components show their callers
    tokens: KeyPair  # signs ServiceAccount tokens
    tls: ssl.SSLContext  # speaks as the administrator
    admin: Path  # kubeconfigs from here on
    controller_manager: Path
    scheduler: Path
    kwok: Path
    runner: Path


HOSTS: Final = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
SERVICE_ADDRESS: Final = "10.96.0.1"


def make_credentials(directory: Path, block: AddressBlock) -> Credentials:
    """Make them all: keys and certificates below `directory/keys`, the administrator's kubeconfig beside it."""
    keys = directory / "keys"
    authority = Authority(keys)
    addresses = tuple(block.component(n) for n in range(1, 10))
    endpoint = _endpoint(directory, block)
    signing_key(keys, "tokens")
    authority.issue("etcd", Identity(name="etcd", addresses=addresses))
    authority.issue("servers", Identity(name="local", addresses=addresses))
    server = Identity(name="kube-apiserver", addresses=(*addresses, SERVICE_ADDRESS), hosts=HOSTS)
    authority.issue("api-server", server)
    for name, identity in CLIENTS.items():
        with_certificate(_kubeconfig(directory, name), endpoint, authority.issue(name, identity))
    return credentials_in(directory, block)


def credentials_in(directory: Path, block: AddressBlock) -> Credentials:
    """Those that were made in this directory before.

    Raises:
        OSError: they are not there.
    """
    endpoint = _endpoint(directory, block)
    return Credentials(
        endpoint=endpoint,
        authority=endpoint.authority,
        etcd=_pair(directory, "etcd"),
        api_server=_pair(directory, "api-server"),
        servers=_pair(directory, "servers"),
        tokens=KeyPair(directory / "keys" / "tokens.pub", directory / "keys" / "tokens.key"),
        tls=client_tls(endpoint.authority, _pair(directory, "admin")),
        admin=_kubeconfig(directory, "admin"),
        controller_manager=_kubeconfig(directory, "controller-manager"),
        scheduler=_kubeconfig(directory, "scheduler"),
        kwok=_kubeconfig(directory, "kwok"),
        runner=_kubeconfig(directory, "runner"),
    )


def _endpoint(directory: Path, block: AddressBlock) -> Endpoint:
    return Endpoint(f"https://{block.component(API_SERVER)}:6443", directory / "keys" / "authority.crt")


def _pair(directory: Path, name: str) -> KeyPair:
    return KeyPair(directory / "keys" / f"{name}.crt", directory / "keys" / f"{name}.key")


def _kubeconfig(directory: Path, name: str) -> Path:
    """The administrator's is where people look for it."""
    return directory / "kubeconfig" if name == "admin" else directory / "keys" / f"{name}.kubeconfig"
