"""`python -m meltguard.demo.servinghost SETUP`: the nodes of a run, each played by a process of its own.

One process imports what all need and forks the others, so that eight nodes start in the time of one. A node's process
that dies is started again; all end with the first.
"""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.pod_shape import read_pod
from meltguard.adapters.reflector import Changes, Reflector, Resource
from meltguard.api.signed import PublicKeys
from meltguard.clock import SystemClock
from meltguard.core.fleet import PodView
from meltguard.core.units import Seconds
from meltguard.demo.host_setup import BASELINE_ENTRY, KEYS_CONFIG_MAP, KEYS_ENTRY, HostNode, HostSetup, read_setup
from meltguard.demo.node_host import NodeHost, baseline_file, keep_baseline
from meltguard.sim.recorded import recording
from meltguard.sim.recording import Recording

log = logging.getLogger(__name__)

KEYS_WITHIN: Final = Seconds(120.0)
MOST_RESTARTS: Final = 5
FORK: Final = multiprocessing.get_context("fork")


class ConfigMapMeta(msgspec.Struct, frozen=True):
    """Part of a ConfigMap's metadata."""

    name: str
    uid: str


class ConfigMap(msgspec.Struct, frozen=True):
    """A ConfigMap."""

    metadata: ConfigMapMeta
    data: dict[str, str] | None = None


def _config_map(raw: msgspec.Raw) -> ConfigMap:
    return msgspec.json.decode(raw, type=ConfigMap)


def _uid_of_config_map(item: ConfigMap) -> str:
    return item.metadata.uid


def _uid_of_pod(pod: PodView) -> str:
    return str(pod.uid)


class Mirrors:
    """What a node's kubelet watches: its pods, and the ConfigMaps of two namespaces."""

    def __init__(self, api: KubernetesApi, node: HostNode, setup: HostSetup) -> None:
        clock = SystemClock()
        self.changes = Changes()
        of_node = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node.name}"
        self._setup = setup
        self._pods = Reflector(api, Resource(path=of_node, decode=read_pod, key=_uid_of_pod), self.changes, clock)
        self._maps = [
            Reflector(
                api,
                Resource(path=f"/api/v1/namespaces/{space}/configmaps", decode=_config_map, key=_uid_of_config_map),
                self.changes,
                clock,
            )
            for space in (setup.namespace, setup.operator_namespace)
        ]

    def run(self, tasks: asyncio.TaskGroup) -> None:
        """Mirror from now on."""
        tasks.create_task(self._pods.run())
        for maps in self._maps:
            tasks.create_task(maps.run())

    def pods(self) -> list[PodView]:
        """Of this node."""
        return list(self._pods.snapshot().values())

    def entries(self, name: str) -> Mapping[str, str]:
        """A ConfigMap's entries; empty where there is none."""
        items = [item for mirror in self._maps for item in mirror.snapshot().values()]
        return next((item.data or {} for item in items if item.metadata.name == name), {})

    async def keys(self) -> PublicKeys:
        """The keys that the operator published. TimeoutError where it did not in time."""
        async with asyncio.timeout(KEYS_WITHIN):
            seen = -1
            while not (text := self.entries(KEYS_CONFIG_MAP).get(KEYS_ENTRY, "")):
                seen = await self.changes.after(seen)
        return PublicKeys.parse(text)


async def play(node: HostNode, setup: HostSetup, drawn: Recording) -> None:
    """Play one node until cancelled."""
    async with await KubernetesApi.connect(setup.kubeconfig) as api:
        host = NodeHost(node, setup, drawn, api)
        mirrors = Mirrors(api, node, setup)
        async with host.exporter(), asyncio.TaskGroup() as tasks:
            mirrors.run(tasks)
            keys = await mirrors.keys()
            seen = -1
            while True:
                seen = await mirrors.changes.after(seen)
                entries = mirrors.entries(setup.baseline_config_map)
                keep_baseline(baseline_file(setup, node.name), entries, BASELINE_ENTRY)
                host.keep_in_step(mirrors.pods(), keys, tasks)


def _child(node: HostNode, setup: HostSetup, drawn: Recording) -> None:
    """A node's process: ends when it is told to, or when the process that forked it is gone."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {node.name} %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_until_told(node, setup, drawn))


async def _until_told(node: HostNode, setup: HostSetup, drawn: Recording) -> None:
    playing = asyncio.current_task()
    parent = multiprocessing.parent_process()
    if playing is None or parent is None:
        raise RuntimeError("a node is played by a forked process; start meltguard.demo.servinghost")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, playing.cancel)
    loop.add_reader(parent.sentinel, os._exit, 1)  # whoever started us was killed: nothing is left to finish for
    await play(node, setup, drawn)


class Hosts:
    """The forked processes."""

    def __init__(self, setup: HostSetup) -> None:
        self._setup = setup
        self._drawn = recording(Path(setup.traces) if setup.traces else None)
        self._playing: dict[str, multiprocessing.process.BaseProcess] = {}
        self._restarts: Counter[str] = Counter()
        gc.freeze()  # the children share what is there; collecting would copy it

    def run(self) -> None:
        """Keep every node played. Returns only by an exception: a signal, or a node that dies again and again."""
        nodes = {node.name: node for node in self._setup.nodes}
        for node in nodes.values():
            self._start(node)
        while True:
            multiprocessing.connection.wait([process.sentinel for process in self._playing.values()])
            for name, process in list(self._playing.items()):
                if process.exitcode is not None:
                    self._again(nodes[name], process.exitcode)

    def stop(self) -> None:
        """End every node; images in progress are not waited for longer than a moment."""
        for process in self._playing.values():
            process.terminate()
        for process in self._playing.values():
            process.join(3.0)
            process.kill()
            process.join()

    def _start(self, node: HostNode) -> None:
        process = FORK.Process(target=_child, args=(node, self._setup, self._drawn), name=node.name, daemon=True)
        process.start()
        self._playing[node.name] = process

    def _again(self, node: HostNode, code: int) -> None:
        self._restarts[node.name] += 1
        if self._restarts[node.name] > MOST_RESTARTS:
            raise SystemExit(f"the host of {node.name} died {MOST_RESTARTS} times, last with {code}; see above why")
        log.warning("a node's host died and is started again", extra={"node": node.name, "code": code})
        self._start(node)


def _told_to_end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Exit code 2 for a wrong call, else how it was ended."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - one argument
        sys.stderr.write("usage: python -m meltguard.demo.servinghost SETUP.json\n")
        return 2
    hosts = Hosts(read_setup(Path(sys.argv[1])))
    signal.signal(signal.SIGTERM, _told_to_end)
    try:
        hosts.run()
    finally:
        hosts.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
