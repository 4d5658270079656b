"""A bare client of an API server, as any user: what the server answers, refusals included, comes back as it is."""

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

PATCHES = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
LIMIT = 60.0
"""Seconds that one call may take."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status code and the object that came with it."""

    code: int
    body: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Not refused."""
        return self.code < 400

    @property
    def message(self) -> str:
        """The server's own words."""
        return str(self.body.get("message", ""))

    def must(self) -> dict[str, Any]:
        """The object of an answer that may not be a refusal."""
        assert self.ok, f"{self.code}: {self.message}"
        return self.body


@dataclass(frozen=True, slots=True)
class Rest:
    """One API server and one identity."""

    host: str
    trust: ssl.SSLContext
    headers: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, kubeconfig: Path) -> Self:
        """The current context of a kubeconfig, with a token or a client certificate."""
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        with TemporaryDirectory() as place:
            trust = ssl.create_default_context(cafile=_file(cluster, "certificate-authority", Path(place)))
            if "token" not in user:
                certificate = _file(user, "client-certificate", Path(place))
                trust.load_cert_chain(certificate, _file(user, "client-key", Path(place)))
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        return cls(urlsplit(cluster["server"]).netloc, trust, headers)

    def as_user(self, name: str, *groups: str) -> Self:
        """The same connection, acting for somebody else."""
        return replace(self, headers={**self.headers, "Impersonate-User": name}, groups=groups)

    def as_service_account(self, namespace: str, name: str) -> Self:
        """The ServiceAccount itself, by a token that the server makes for it; no client certificate any more."""
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
        token = self.post(f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", asked).must()["status"][
            "token"
        ]
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.load_verify_locations(
            cadata="".join(map(ssl.DER_cert_to_PEM_cert, self.trust.get_ca_certs(binary_form=True)))
        )
        return replace(self, trust=bare, headers={"Authorization": f"Bearer {token}"}, groups=())

    def get(self, path: str) -> Answer:
        """Read an object or a list."""
        return self._call("GET", path, None, "application/json")

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Create an object or a subresource."""
        return self._call("POST", path, body, "application/json")

    def delete(self, path: str) -> Answer:
        """Delete an object."""
        return self._call("DELETE", path, None, "application/json")

    def patch(self, path: str, body: Any, kind: str = "json") -> Answer:
        """`kind` is json, merge or apply."""
        return self._call("PATCH", path, body, PATCHES[kind])

    def _call(self, verb: str, path: str, body: Any, content: str) -> Answer:
        connection = http.client.HTTPSConnection(self.host, timeout=LIMIT, context=self.trust)
        try:
            text = None if body is None else json.dumps(body).encode()
            connection.putrequest(verb, path)
            for name, value in {
                "Content-Type": content,
                "Content-Length": str(len(text or b"")),
                **self.headers,
            }.items():
                connection.putheader(name, value)
            for group in self.groups:
                connection.putheader("Impersonate-Group", group)
            connection.endheaders(text)
            response = connection.getresponse()
            return Answer(response.status, _decoded(response.read()))
        finally:
            connection.close()


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        decoded = json.loads(raw)
    except ValueError:
        return {"message": raw.decode(errors="replace")}
    return decoded if isinstance(decoded, dict) else {"items": decoded}


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _file(entry: dict[str, Any], key: str, place: Path) -> str:
    if key in entry:
        return str(entry[key])
    path = place / key
    path.write_bytes(base64.b64decode(entry[f"{key}-data"]))
    return str(path)
