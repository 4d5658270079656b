"""Ask a component over HTTP or HTTPS, each time on a new connection: small, synchronous, for start-up and tokens."""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from meltguard.core.units import Seconds
from meltguard.errors import Unavailable
from meltguard.localcluster.certificates import KeyPair

CALL_LIMIT: Final = Seconds(5.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    code: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Door:
    """Where a component answers, and who we are there; `tls` None for plain HTTP."""

    address: str
    port: int
    tls: ssl.SSLContext | None = None

    def ask(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """One request; OSError or HTTPException where there is no answer."""
        connection = self._connection()
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(verb, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        finally:
            connection.close()

    def says_ok(self, path: str) -> bool:
        """Whether it answers 200 now."""
        try:
            return self.ask("GET", path).code == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST an object, return what the server made of it.

        Raises:
            Unavailable: no answer, or not a good one.
        """
        try:
            answer = self.ask("POST", path, body)
        except (OSError, http.client.HTTPException) as exc:
            raise Unavailable(f"POST {path}: {self.address}:{self.port} does not answer: {exc}") from exc
        if answer.code >= http.HTTPStatus.BAD_REQUEST:
            raise Unavailable(f"POST {path}: {answer.code} {answer.body.decode(errors='replace')[:500]}")
        made: dict[str, Any] = json.loads(answer.body)
        return made

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.address, self.port, timeout=CALL_LIMIT)
        return http.client.HTTPSConnection(self.address, self.port, timeout=CALL_LIMIT, context=self.tls)


def client_tls(authority: Path, pair: KeyPair) -> ssl.SSLContext:
    """Trust the plane's authority and speak with this certificate."""
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def answers_ping(address: str, port: int) -> bool:
    """Whether a Valkey server answers PING now."""
    try:
        with socket.create_connection((address, port), timeout=CALL_LIMIT) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
