"""How each program of the plane is started and asked whether it is ready. Addresses are 127.B.0.n, ports well known."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.localcluster.addresses import AddressBlock
from meltguard.localcluster.asking import Door, answers_ping
from meltguard.localcluster.cache import private_directory
from meltguard.localcluster.credentials import Credentials
from meltguard.localcluster.ports import (
    API_SERVER,
    CONTROLLER_MANAGER,
    ETCD,
    KWOK,
    PROMETHEUS,
    RUNNER,
    SCHEDULER,
    VALKEY,
)
from meltguard.localcluster.processes import Component

SERVICE_NETWORK: Final = "10.96.0.0/16"  # given to Services by the API server; nothing routes it here
HEALTH_PORT: Final = 10248  # of a kubelet
NODE_GRACE: Final = Seconds(120.0)
NODE_LEASE: Final = Seconds(40.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What every component is told."""

    directory: Path
    block: AddressBlock
    binaries: Mapping[str, Path]
    credentials: Credentials
    scrape_interval: Seconds

    def program(self, name: str) -> str:
        """The executable of this name."""
        return str(self.binaries[name])


def etcd(site: Site) -> Component:
    """The store. Without fsync: a plane's data need not survive the machine."""
    address = site.block.component(ETCD)
    own, tls = site.credentials.etcd, site.credentials.tls
    clients, peers = f"https://{address}:2379", f"https://{address}:2380"
    return Component(
        name="etcd",
        address=f"{address}:2379",
        command=(
            site.program("etcd"),
            "--name=local",
            f"--data-dir={site.directory / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=local={peers}",
            "--client-cert-auth",
            f"--trusted-ca-file={site.credentials.authority}",
            f"--cert-file={own.certificate}",
            f"--key-file={own.key}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={site.credentials.authority}",
            f"--peer-cert-file={own.certificate}",
            f"--peer-key-file={own.key}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
        is_ready=partial(Door(address, 2379, tls).says_ok, "/health"),
    )


def api_server(site: Site) -> Component:
    """The API server: Node and RBAC authorizers, no anonymous callers, every write of interest audited at once."""
    address, keys = site.block.component(API_SERVER), site.credentials
    return Component(
        name="kube-apiserver",
        address=f"{address}:6443",
        command=(
            site.program("kube-apiserver"),
            f"--etcd-servers=https://{site.block.component(ETCD)}:2379",
            f"--etcd-cafile={keys.authority}",
            f"--etcd-certfile={keys.etcd.certificate}",
            f"--etcd-keyfile={keys.etcd.key}",
            f"--bind-address={address}",
            f"--advertise-address={address}",
            "--secure-port=6443",
            "--endpoint-reconciler-type=none",  # EndpointSlices refuse loopback addresses
            f"--tls-cert-file={keys.api_server.certificate}",
            f"--tls-private-key-file={keys.api_server.key}",
            f"--client-ca-file={keys.authority}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys.tokens.certificate}",
            f"--service-account-signing-key-file={keys.tokens.key}",
            f"--kubelet-certificate-authority={keys.authority}",
            f"--kubelet-client-certificate={keys.api_server.certificate}",
            f"--kubelet-client-key={keys.api_server.key}",
            "--kubelet-preferred-address-types=InternalIP",  # nobody resolves the nodes' names
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            "--enable-admission-plugins=NodeRestriction",
            f"--audit-policy-file={_package_file('audit.yaml')}",
            f"--audit-log-path={audit_log(site)}",
            "--audit-log-mode=blocking",  # who reads the log after a request finds the request in it
            "--audit-log-maxsize=4096",  # MB; rotation would hide the beginning
            "--profiling=false",
        ),
        is_ready=partial(Door(address, 6443, keys.tls).says_ok, "/readyz"),
    )


def controller_manager(site: Site) -> Component:
    """The controllers, each under its own ServiceAccount, so that the audit log tells them apart."""
    address, keys = site.block.component(CONTROLLER_MANAGER), site.credentials
    return Component(
        name="kube-controller-manager",
        address=f"{address}:10257",
        command=(
            site.program("kube-controller-manager"),
            f"--kubeconfig={keys.controller_manager}",
            f"--bind-address={address}",
            f"--tls-cert-file={keys.servers.certificate}",
            f"--tls-private-key-file={keys.servers.key}",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={keys.tokens.key}",
            f"--root-ca-file={keys.authority}",
            f"--node-monitor-grace-period={NODE_GRACE:.0f}s",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--profiling=false",
        ),
        is_ready=partial(Door(address, 10257, keys.tls).says_ok, "/healthz"),
    )


def scheduler(site: Site) -> Component:
    """The scheduler, as Kubernetes ships it."""
    address, keys = site.block.component(SCHEDULER), site.credentials
    return Component(
        name="kube-scheduler",
        address=f"{address}:10259",
        command=(
            site.program("kube-scheduler"),
            f"--kubeconfig={keys.scheduler}",
            f"--bind-address={address}",
            f"--tls-cert-file={keys.servers.certificate}",
            f"--tls-private-key-file={keys.servers.key}",
            "--leader-elect=false",
            "--profiling=false",
        ),
        is_ready=partial(Door(address, 10259, keys.tls).says_ok, "/readyz"),
    )


def kwok(site: Site) -> Component:
    """The fake nodes (those with the annotation kwok.x-k8s.io/node=fake) and their pods, by our stages."""
    address = site.block.component(KWOK)
    stages = [f"--config={_package_file(f'stages/{name}.yaml')}" for name in ("node", "pod-life", "pod-end")]
    return Component(
        name="kwok",
        address=f"{address}:10247",
        command=(
            site.program("kwok"),
            f"--kubeconfig={site.credentials.kwok}",
            *stages,
            "--manage-all-nodes=false",
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            f"--cidr={site.block.fake_pods}",
            f"--node-ip={address}",
            f"--node-lease-duration-seconds={NODE_LEASE:.0f}",
            f"--server-address={address}:10247",
        ),
        environment={"KWOK_WORKDIR": str(site.directory / "kwok")},  # not the user's ~/.kwok
        is_ready=partial(Door(address, 10247).says_ok, "/readyz"),
    )


def prometheus(site: Site) -> Component:
    """Scrapes what file_sd finds in the targets directory."""
    address = site.block.component(PROMETHEUS)
    return Component(
        name="prometheus",
        address=f"{address}:9090",
        command=(
            site.program("prometheus"),
            f"--config.file={_prometheus_config(site)}",
            f"--storage.tsdb.path={site.directory / 'prometheus'}",
            f"--web.listen-address={address}:9090",
            "--log.level=warn",
        ),
        is_ready=partial(Door(address, 9090).says_ok, "/-/ready"),
    )


def valkey(site: Site) -> Component:
    """The store of quotas; in memory only."""
    address = site.block.component(VALKEY)
    return Component(
        name="valkey",
        address=f"{address}:6379",
        command=(
            site.program("valkey-server"),
            *("--bind", address, "--port", "6379", "--save", "", "--appendonly", "no"),
            *("--dir", str(site.directory), "--daemonize", "no"),
        ),
        is_ready=partial(answers_ping, address, 6379),
    )


def runner(site: Site) -> Component:
    """The node whose pods are real processes."""
    address = site.block.component(RUNNER)
    return Component(
        name="runner",
        address=f"{address}:{HEALTH_PORT}",
        command=(sys.executable, "-m", "meltguard.localcluster.kubelet", str(site.directory), str(site.block.number)),
        is_ready=partial(Door(address, HEALTH_PORT).says_ok, "/healthz"),
        stop_limit=Seconds(10.0),  # it ends its pods' processes first
    )


def write_configuration(site: Site) -> None:
    """Write what the components read: to be called once, before they start."""
    private_directory(targets_directory(site))
    interval = f"{round(site.scrape_interval * 1000)}ms"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": [
            {
                "job_name": "local",
                "file_sd_configs": [{"files": [str(targets_directory(site) / "*.json")], "refresh_interval": "1s"}],
            }
        ],
    }
    _prometheus_config(site).write_text(json.dumps(config, indent=1))


def audit_log(site: Site) -> Path:
    """JSON lines, one event each."""
    return site.directory / "audit.jsonl"


def targets_directory(site: Site) -> Path:
    """Where files of scrape targets go."""
    return site.directory / "targets"


def _package_file(name: str) -> Path:
    with as_file(files("meltguard.localcluster") / name) as path:
        return path


def _prometheus_config(site: Site) -> Path:
    return site.directory / "prometheus.json"


EARLY: Final = (etcd, api_server, runner, valkey)
"""Started first: the API server with its store, and what waits for it by itself."""

LATE: Final = (controller_manager, scheduler, kwok, prometheus)
"""Started when the API server is ready: most of them give up if it is not."""
