"""The door of the decision endpoint: which proxy asks, whether it may, and about which request (docs/ways-in.md)."""

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from meltguard.agent.asgi import Answer, App, Header, Message, Receive, Scope, Send, headers_of, problem
from meltguard.agent.decisions import Decisions
from meltguard.agent.settings import DecisionBounds
from meltguard.errors import InvalidInput

FORWARD_AUTH: Final = "/meltguard/forward-auth"  # Traefik, Caddy: any refusal goes to the client as it is
AUTH_REQUEST: Final = "/meltguard/auth-request"  # NGINX: knows 2xx, 401 and 403
REFUSAL: Final = "/meltguard/refusal"  # NGINX: what a 403 stood for
EXT_AUTHZ: Final = "/meltguard/ext-authz"  # Envoy: any 5xx would be our failure; the request's path follows
GRANTS: Final = "/meltguard/grants/"  # a request has ended
TELLING: Final = frozenset({"POST", "GET"})  # GET for who cannot send a POST without the request's spent body
SECRET_HEADER: Final = "x-meltguard-proxy-secret"  # noqa: S105 - its name
REFUSAL_HEADER: Final = "x-meltguard-refusal"
URI_HEADER: Final = "x-forwarded-uri"
METHOD_HEADER: Final = "x-forwarded-method"
FOR_HEADER: Final = "x-forwarded-for"
STANDS_FOR_503: Final = 453
Turned = Callable[[Answer], Answer]


class Door:
    """Stands before who finds out who calls; `inside` decides on the request that the proxy asks about."""

    def __init__(self, inside: App, decisions: Decisions, bounds: DecisionBounds) -> None:
        self._inside, self._decisions = inside, decisions
        self._secret = bounds.secret.encode() if bounds.secret is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            return
        path, headers = scope["path"], headers_of(scope)
        if path.startswith(GRANTS):
            await self._ended(scope).send(send)
        elif not self._may_ask(headers):
            await problem(403, f"this proxy is not ours: it must send {SECRET_HEADER}").send(send)
        elif path == REFUSAL:
            await unpacked(headers.get(REFUSAL_HEADER, "")).send(send)
        elif path == AUTH_REQUEST:
            await self._ask(scope, headers, receive, Turner(send, packed))
        elif path == FORWARD_AUTH:
            await self._ask(scope, headers, receive, send)
        elif path.startswith(f"{EXT_AUTHZ}/"):
            await self._inside(_from(scope, headers, path.removeprefix(EXT_AUTHZ)), receive, Turner(send, lowered))
        else:
            await problem(404, f"ask {EXT_AUTHZ}/..., {AUTH_REQUEST} or {FORWARD_AUTH}; docs/ways-in.md").send(send)

    async def _ask(self, scope: Scope, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        uri = headers.get(URI_HEADER, "")
        if not uri.startswith("/"):
            await problem(400, f"the proxy must name the request in {URI_HEADER}, and once").send(send)
            return
        method = headers.get(METHOD_HEADER, "POST").upper()
        path, _, query = uri.partition("?")
        about = {**_from(scope, headers, path), "method": method, "query_string": query.encode("latin-1")}
        await self._inside(about, receive, send)

    def _ended(self, scope: Scope) -> Answer:
        if scope["method"] not in TELLING:
            return problem(405, f"{GRANTS}ID takes POST, or GET")
        return self._decisions.ended(scope["path"].removeprefix(GRANTS), scope["query_string"])

    def _may_ask(self, headers: Mapping[str, str]) -> bool:
        if self._secret is None:
            return True
        return hmac.compare_digest(headers.get(SECRET_HEADER, "").encode("latin-1"), self._secret)


class Turner:
    """Holds a whole refusal back and sends it as its proxy must hear it; what lets a request through passes."""

    def __init__(self, send: Send, turned: Turned) -> None:
        self._send, self._turned = send, turned
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        """The app's `send`."""
        if message["type"] == "http.response.start" and message["status"] >= HTTPStatus.BAD_REQUEST:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            await self._turned(_whole(self._start, message.get("body", b""))).send(self._send)


def packed(answer: Answer) -> Answer:
    """A refusal for a proxy that knows no other one than 403; the header bears the real one to `unpacked`."""
    told = [answer.status, dict(answer.headers), answer.content_type, answer.body.decode()]
    carried = base64.urlsafe_b64encode(json.dumps(told).encode()).decode()
    return Answer(status=403, body=b"", headers={REFUSAL_HEADER: carried})


def unpacked(carried: str) -> Answer:
    """What `packed` packed, from the proxy that got it.

    Raises nothing: what cannot be read is a refusal that cannot be told.
    """
    try:
        status, headers, content_type, body = json.loads(base64.urlsafe_b64decode(carried.encode()))
        return Answer(status=int(status), body=body.encode(), content_type=content_type, headers=headers)
    except (ValueError, TypeError, AttributeError):
        return problem(503, f"the proxy did not hand {REFUSAL_HEADER} on; docs/ways-in.md shows how")


def lowered(answer: Answer) -> Answer:
    """A refusal for a proxy that takes any 5xx for our failure: 453 stands for it until the proxy mends it."""
    return replace(answer, status=STANDS_FOR_503) if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR else answer


def must_be_closed(host: str, bounds: DecisionBounds) -> None:
    """Refuse a start where anyone who reaches the port could speak for a proxy: name an address, or his own tier.

    Raises:
        InvalidInput: it could be anyone.
    """
    if bounds.secret is None and host not in {"127.0.0.1", "::1"}:
        raise InvalidInput(
            f"whoever reaches {host} could speak for your proxy: listen on 127.0.0.1, or set MELTGUARD_PROXY_SECRET"
        )


def _from(scope: Scope, headers: Mapping[str, str], path: str) -> Scope:
    """The scope of the request that the proxy asks about; the last forwarded address is the one it saw itself."""
    address = headers.get(FOR_HEADER, "").rpartition(",")[2].strip()
    return {**scope, "path": path, "raw_path": path.encode(), "client": (address, 0) if address else scope["client"]}


def _whole(start: Message, body: bytes) -> Answer:
    pairs: list[Header] = start["headers"]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    content_type = headers.pop("content-type", "application/json")
    headers.pop("content-length", None)
    return Answer(status=start["status"], body=body, content_type=content_type, headers=headers)
