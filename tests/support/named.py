"""An image server that tells which of several it is."""

import asyncio

from meltguard.agent.asgi import Answer, Receive, Scope, Send
from support.envoy import LOAD_HEADER


class Named:
    """An image server that says who it is, and may bear a report of its own."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Make one image."""
        await asyncio.sleep(self._seconds)
        own = {LOAD_HEADER: "TEXT application_utilization=0.01,rps_fractional=9e9", "x-server": self._name}
        await Answer(status=200, body=b"{}", headers=own).send(send)
