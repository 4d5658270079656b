"""`python -m meltguard.localcluster.kubelet DIRECTORY BLOCK`: the local runner of the plane in that directory."""

import asyncio
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.clock import SystemClock
from meltguard.localcluster.addresses import AddressBlock
from meltguard.localcluster.credentials import RUNNER_NODE
from meltguard.localcluster.kubeconfig import Endpoint
from meltguard.localcluster.kubelet.runner import run_node
from meltguard.localcluster.kubelet.site import Site
from meltguard.localcluster.ports import API_SERVER, RUNNER


async def serve(directory: Path, block: AddressBlock) -> None:
    """Be the node until SIGTERM or SIGINT."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if task is not None:
            loop.add_signal_handler(number, task.cancel)
    keys = directory / "keys"
    async with await KubernetesApi.connect(str(keys / "runner.kubeconfig")) as api:
        await run_node(
            Site(
                api=api,
                clock=SystemClock(),
                node=RUNNER_NODE,
                node_ip=block.component(RUNNER),
                directory=directory / "pods",
                block=block,
                endpoint=Endpoint(f"https://{block.component(API_SERVER)}:6443", keys / "authority.crt"),
            )
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with suppress(asyncio.CancelledError):
        asyncio.run(serve(Path(sys.argv[1]), AddressBlock(int(sys.argv[2]))))
