"""The ASGI interface in types, and whole answers over it."""

import json
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
SEEN: Final = "meltguard.seen"  # in a scope: a dictionary for what the admission found out
Header = tuple[bytes, bytes]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def again_after(self, seconds: float) -> "Answer":
        """The same, which tells its client to ask again then.

        >>> problem(503, "full").again_after(2.0).headers
        {'retry-after': '2'}
        """
        return replace(self, headers={**self.headers, "retry-after": f"{seconds:.0f}"})

    async def send(self, send: Send, also: Iterable[Header] = ()) -> None:
        """Answer with this, these further headers, and nothing else."""
        headers = {"content-type": self.content_type, "content-length": str(len(self.body)), **self.headers}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": [*encoded, *also]})
        await send({"type": "http.response.body", "body": self.body})


def problem(status: int, detail: str, **members: object) -> Answer:
    """A problem in the sense of RFC 9457 that needs no type of its own.

    >>> problem(404, "there is no /x").body
    b'{"type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no /x"}'
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **members}
    return Answer(status=status, body=json.dumps(body).encode(), content_type="application/problem+json")


def headers_of(scope: Scope, wanted: Container[bytes] | None = None) -> dict[str, str]:
    """A request's headers by lower-case name, or the wanted ones of them.

    One that came twice is left out: nobody knows who said which.
    """
    found: dict[bytes, bytes] = {}
    repeated = set()
    for raw_name, value in scope["headers"]:
        name = raw_name.lower()
        if wanted is None or name in wanted:
            if name in found:
                repeated.add(name)
            found[name] = value
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in found.items() if name not in repeated}
