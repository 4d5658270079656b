"""One instant query to one Prometheus, in the calling thread: bounded in time and size, warnings kept.

prometheus-api-client drops `warnings` (a partial answer then looks whole), reads bodies of any size and sets no limit
to the whole exchange; this subclass does those three things itself and leaves the rest to the library.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import requests
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from meltguard.core.units import Instant, Seconds
from meltguard.errors import InvalidInput, MeltguardError, Unavailable

CONNECT_LIMIT: Final = 3.0
CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSource:
    """Where a Prometheus is and how we speak to it; comes from the operator's configuration, never from a policy."""

    url: str
    bearer_token_file: str = ""  # read anew for each query: tokens rotate
    headers: Mapping[str, str] | None = None  # a tenant's header, say
    ca_file: str = ""  # "" is the system's


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a source may cost."""

    answer: Seconds = Seconds(5.0)
    largest_body: int = 50_000_000  # bytes
    most_series: int = 100_000


USUAL: Final = Bounds()


class Series(msgspec.Struct, frozen=True):
    """One element of an instant vector; without a value where it is a histogram."""

    metric: dict[str, str]
    value: tuple[float, str] | None = None


class Data(msgspec.Struct, frozen=True, rename="camel"):
    """What a query evaluates to."""

    result_type: str
    result: msgspec.Raw


class Reply(msgspec.Struct, frozen=True, rename="camel"):
    """Prometheus' envelope."""

    status: str
    data: Data | None = None
    error: str = ""
    warnings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A query's series at one instant of Prometheus' clock."""

    series: tuple[Series, ...]
    at: Instant | None  # None where there is no series to tell it
    warnings: tuple[str, ...]


class BoundedPrometheus(PrometheusConnect):  # type: ignore[misc] # the library has no types
    """A Prometheus whose answers are bounded. Threads may share it."""

    def __init__(self, source: PrometheusSource, bounds: Bounds = USUAL) -> None:
        session = requests.Session()
        session.trust_env = False  # a .netrc or a proxy of the environment must not get our token
        session.verify = source.ca_file or True
        super().__init__(url=source.url.rstrip("/"), session=session, retry=Retry(total=0), method="POST")
        self._source = source
        self._bounds = bounds

    def evaluate(self, query: str, at: Instant | None, limit: Seconds) -> Evaluated:
        """The value of a PromQL expression at an instant; None is the server's now.

        Raises:
            Unavailable: no answer in time, or not one of Prometheus.
            InvalidInput: the query is wrong, or matches too much.
        """
        deadline = time.monotonic() + limit
        form = {"query": query, "timeout": f"{limit * 1000:.0f}ms"} | ({} if at is None else {"time": f"{at:.3f}"})
        try:
            with self._session.post(
                f"{self.url}/api/v1/query",
                data=form,
                headers=self._headers(),
                timeout=(min(CONNECT_LIMIT, limit), limit),
                allow_redirects=False,
                stream=True,
            ) as response:
                seen = _read(self.url, response.status_code, self._body(response, deadline))
        except requests.RequestException as exc:
            raise Unavailable(f"Prometheus at {self.url} does not answer: {root_cause(exc)}") from exc
        if len(seen.series) > self._bounds.most_series:
            most = self._bounds.most_series
            raise InvalidInput(f"the query matches {len(seen.series)} series, at most {most} are read; narrow it")
        return seen

    def _headers(self) -> dict[str, str]:
        headers = dict(self._source.headers or {})
        path = self._source.bearer_token_file
        if not path:
            return headers
        try:
            token = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise Unavailable(f"the bearer token for {self.url} cannot be read from {path}: {exc}") from exc
        return {**headers, "Authorization": f"Bearer {token}"}

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(CHUNK):
            body += chunk
            if len(body) > self._bounds.largest_body:
                most = self._bounds.largest_body / 1e6
                raise InvalidInput(f"Prometheus at {self.url} answers more than {most:g} MB; narrow the query")
            if time.monotonic() > deadline:
                raise Unavailable(f"Prometheus at {self.url} answers too slowly; look at its load")
        return bytes(body)


def _read(url: str, code: int, body: bytes) -> Evaluated:
    try:
        reply = msgspec.json.decode(body, type=Reply)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _no_prometheus(url, code, body) from exc
    if reply.status != "success" or reply.data is None:
        said = f"Prometheus at {url} refuses the query (HTTP {code}): {reply.error or 'no data'}"
        raise InvalidInput(said) if code < 500 else Unavailable(said)  # noqa: PLR2004 - HTTP
    series = _series(url, reply.data)
    at = next((Instant(one.value[0]) for one in series if one.value), None)
    return Evaluated(series=series, at=at, warnings=reply.warnings or ())


def _series(url: str, data: Data) -> tuple[Series, ...]:
    try:
        if data.result_type == "scalar":
            return (Series(metric={}, value=msgspec.json.decode(data.result, type=tuple[float, str])),)
        if data.result_type == "vector":
            return msgspec.json.decode(data.result, type=tuple[Series, ...])
    except msgspec.DecodeError as exc:
        raise Unavailable(f"{url} answers with a {data.result_type} that is none ({exc}); is it Prometheus?") from exc
    raise InvalidInput(f"the query gives a {data.result_type}; it must give an instant vector or a scalar")


def _no_prometheus(url: str, code: int, body: bytes) -> MeltguardError:
    if code in {401, 403}:
        return Unavailable(f"Prometheus at {url} refuses our credentials (HTTP {code}); check the source's token file")
    start = body[:80].decode(errors="replace").strip().replace("\n", " ")
    return Unavailable(f"{url} does not answer as Prometheus does (HTTP {code}, {start!r}); check the source's url")


def root_cause(exc: BaseException) -> BaseException:
    """The innermost reason: the library wraps "Connection refused" four times."""
    while exc.__context__ is not None:
        exc = exc.__context__
    return exc
