"""The connection to a Valkey or Redis: one server or a cluster, TLS or not, and what its errors mean."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
)
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import TimeoutError as NoAnswerError

from meltguard.agent.settings import StoreAddress
from meltguard.api.store_state import StoreState
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput

CONNECTIONS: Final = 16
CLUSTER_MARK: Final = "+cluster"
MEANINGS: Final[tuple[tuple[type[BaseException], StoreState], ...]] = (
    (ssl.SSLError, StoreState.UNTRUSTED),
    (AuthenticationError, StoreState.REFUSED_CREDENTIALS),
    (NoPermissionError, StoreState.REFUSED_RIGHTS),
    (OutOfMemoryError, StoreState.FULL),
    (ReadOnlyError, StoreState.READ_ONLY),
    (BusyLoadingError, StoreState.LOADING),
    (MasterDownError, StoreState.DOWN),
    (MovedError, StoreState.CLUSTER),
    (AskError, StoreState.CLUSTER),
    (ClusterDownError, StoreState.CLUSTER),
    (RedisClusterException, StoreState.CLUSTER),
    (NoAnswerError, StoreState.SLOW),
    (TimeoutError, StoreState.SLOW),
    (ConnectionResetError, StoreState.CLOSED),
    (BrokenPipeError, StoreState.CLOSED),
    (OSError, StoreState.DOWN),
    (NoConnectionError, StoreState.CLOSED),
    (ResponseError, StoreState.FAULTY),
)


def connect(address: StoreAddress, budget: Seconds) -> "Redis | RedisCluster":
    """A client that has not connected yet.

    Raises:
        InvalidInput: the URL or the files cannot be used.
    """
    scheme, _, rest = address.url.partition("://")
    cluster = scheme.endswith(CLUSTER_MARK)
    url = f"{scheme.removesuffix(CLUSTER_MARK)}://{rest}"
    _check(address, url)
    options: dict[str, Any] = {
        "socket_timeout": budget,
        "socket_connect_timeout": budget,
        "retry": Retry(NoBackoff(), 0),  # whether to ask again is the caller's decision
        "decode_responses": True,
        **address.tls,
    }
    try:
        if cluster:
            return RedisCluster.from_url(url, max_connections=CONNECTIONS * 4, **options)
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=budget, **options)
        return Redis(connection_pool=pool)
    except ValueError as exc:
        raise InvalidInput(f"quota store {address.shown!r}: {exc}; write redis://HOST:PORT/DB") from exc


def _check(address: StoreAddress, url: str) -> None:
    if address.tls and not url.startswith("rediss://"):
        raise InvalidInput(f"quota store {address.shown!r}: TLS files are given; write rediss://HOST:PORT/DB")
    if (address.cert_file is None) != (address.key_file is None):
        raise InvalidInput("quota store: a certificate and its key go together; give --quota-store-cert and -key")
    for path in address.tls.values():
        if not Path(path).is_file():
            raise InvalidInput(f"quota store: there is no file {path}; mount it, or correct the path")


def meaning(exc: BaseException) -> StoreState:
    """What an error of the client says of the store, by it or by what led to it.

    >>> meaning(OutOfMemoryError("used memory > 'maxmemory'")).value
    'full'
    """
    causes = tuple(_chain(exc))
    return next(
        (state for kind, state in MEANINGS if any(isinstance(cause, kind) for cause in causes)), StoreState.FAULTY
    )


def _chain(exc: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = exc
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
