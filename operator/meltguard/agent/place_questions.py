"""Questions about places of this pod that other agents pass on: they come in at the control interface."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import Answer, Message, Receive, Scope, Send, headers_of, problem
from meltguard.agent.place_desk import PlaceAsk
from meltguard.agent.place_paths import PlacePath
from meltguard.agent.place_relay import HELD, MARK_HEADER, NOT_TAKEN, OWNER_HEADER, SOON, TELLER_HEADER
from meltguard.errors import InvalidInput

MOST: Final = 128  # under way, event streams included: the operator's connections must find room beside them


class PlaceQuestions:
    """Believes an agent that shows the operator's pass from the address in it; asks nobody else."""

    def __init__(self, agent: Agent) -> None:
        self._pod, self._peers, self._desk = agent.settings.pod_uid, agent.peers, agent.place_desk
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one."""
        path, headers = PlacePath.parse(scope["path"]), headers_of(scope)
        wrong = self._wrong(path, headers, scope)
        if wrong is not None:
            await replace(wrong, headers={**wrong.headers, MARK_HEADER: NOT_TAKEN}).send(send)
            return
        self._open += 1
        try:
            owner = unquote(headers[OWNER_HEADER])
            ask = PlaceAsk(path.id, owner, scope["method"], headers.get("accept", ""))
            await self._desk.answer(ask, receive, Marked(send))
        finally:
            self._open -= 1

    def _wrong(self, path: PlacePath, headers: Mapping[str, str], scope: Scope) -> Answer | None:
        if path.pod != self._pod:
            return problem(421, f"this is pod {self._pod}")
        try:
            self._peers.check_teller(headers.get(TELLER_HEADER, ""), (scope.get("client") or ("",))[0])
        except InvalidInput as exc:
            return problem(403, f"only agents of this service pass questions on; {TELLER_HEADER}: {exc}")
        if not headers.get(OWNER_HEADER):
            return problem(400, f"{OWNER_HEADER} must say, once, who asks")
        if self._open >= MOST:
            return problem(503, "too many questions about places are under way").again_after(SOON)
        return None


class Marked:
    """Says of an answer that it is the place's own."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        """The desk's `send`."""
        if message["type"] == "http.response.start":
            own = (MARK_HEADER.encode(), HELD.encode())
            message = {**message, "headers": [*message.get("headers", ()), own]}
        await self._send(message)
