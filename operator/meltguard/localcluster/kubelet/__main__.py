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
from meltguard.localcluster.credentials import RUNNER_NODE, credentials_in
from meltguard.localcluster.kubelet.runner import run_node
from meltguard.localcluster.kubelet.site import Site
from meltguard.localcluster.ports import RUNNER


async def serve(directory: Path, block: AddressBlock) -> None:
    """Be the node until SIGTERM or SIGINT."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if task is not None:
            loop.add_signal_handler(number, task.cancel)
    held = credentials_in(directory, block)
    async with await KubernetesApi.connect(str(held.runner)) as api:
        await run_node(
            Site(
                api=api,
                clock=SystemClock(),
                node=RUNNER_NODE,
                node_ip=block.component(RUNNER),
                directory=directory / "pods",
                block=block,
                endpoint=held.endpoint,
                serving=held.servers,
            )
        )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with suppress(asyncio.CancelledError):
        asyncio.run(serve(Path(sys.argv[1]), AddressBlock(int(sys.argv[2]))))
