"""One JSON line a request: who was answered what, and when. No prompts, no tokens, no values of a query."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from meltguard.agent.asgi import SEEN, App, Message, Receive, Scope, Send
from meltguard.agent.journal import Journal
from meltguard.agent.place_paths import PREFIX, PlacePath
from meltguard.clock import rfc3339
from meltguard.core.units import Instant, Seconds
from meltguard.ports import Clock

LONGEST: Final = 512  # characters of a path or a name that anyone may send
MOST_NAMES: Final = 16  # of a query


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessEntry:
    """One request, written when its answer has ended."""

    at: Instant  # when it came
    method: str
    path: str  # without its query, and without the id of a place
    query: tuple[str, ...]  # the names in it
    status: int  # 0 where none was sent
    sent: int  # bytes of the answer's body
    took: Seconds  # until the answer ended
    seen: dict[str, Any] = field(default_factory=dict)  # tier, user (a hash), wait, reason of a refusal

    def to_json_line(self) -> str:
        """The entry in one line."""
        members = asdict(self)
        seen = members.pop("seen")
        at = f"{rfc3339(self.at)[:-1]}.{int(self.at % 1 * 1000):03}Z"
        return json.dumps({**members, "at": at, "took": round(self.took, 6), **seen}, separators=(",", ":")) + "\n"


class AccessLog:
    """Stands before all else on the users' port."""

    def __init__(self, app: App, lines: Journal, clock: Clock) -> None:
        self._app, self._lines, self._clock = app, lines, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        at, begun = self._clock.now(), self._clock.elapsed()
        sent = Sent(send)
        seen: dict[str, Any] = {}
        try:
            await self._app({**scope, SEEN: seen}, receive, sent.send)
        finally:
            self._lines.note(
                AccessEntry(
                    at=at,
                    method=scope["method"],
                    path=logged_path(scope["path"]),
                    query=query_names(scope.get("query_string", b"")),
                    status=sent.status,
                    sent=sent.size,
                    took=Seconds(self._clock.elapsed() - begun),
                    seen=seen,
                )
            )


class Sent:
    """What of an answer was sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = self.size = 0

    async def send(self, message: Message) -> None:
        """The app's `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.size += len(message.get("body", b""))
        await self._send(message)


def logged_path(path: str) -> str:
    """A path that may be written down: the id of a place opens it to its owner.

    >>> logged_path("/meltguard/places/pod-1/s3cret")
    '/meltguard/places/pod-1/...'
    """
    if path.startswith(PREFIX):
        path = PlacePath.parse(path).logged
    return path[:LONGEST]


def query_names(query: bytes) -> tuple[str, ...]:
    """The names of a query; a part without a value may be anything and is left out.

    >>> query_names(b"prompt=a+fox&n=2&token")
    ('prompt', 'n')
    """
    parts = query.decode("latin-1").split("&")[:MOST_NAMES]
    return tuple(unquote(name)[:LONGEST] for name, equals, _ in (part.partition("=") for part in parts) if equals)
