"""Where the API server is and who we are there, read by the official client from a kubeconfig or from the pod."""

import asyncio
import inspect
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import list_kube_config_contexts, load_kube_config

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable

CREDENTIALS_LIVE: Final = Seconds(60.0)
"""How long a kubeconfig's credentials are used before they are read anew: token files and exec plugins rotate."""

TROUBLE: Final = (ConfigException, OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError)
"""What the library raises over a file that is missing or no kubeconfig: it does not look before it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """Whom to act as, where one's own rights allow it: kubectl's --as and --as-group."""

    user: str = ""
    groups: tuple[str, ...] = ()

    def headers(self) -> list[tuple[str, str]]:
        """None where one acts as oneself.

        Raises:
            InvalidInput: groups without a user; the API server would refuse them less plainly.
        """
        if self.groups and not self.user:
            raise InvalidInput("--as-group needs --as: say which user of those groups")
        user = [("Impersonate-User", self.user)] if self.user else []
        return [*user, *(("Impersonate-Group", group) for group in self.groups)]


class Credentials:
    """The Authorization header, renewed as its source renews it."""

    def __init__(self, configuration: Configuration, reload: Callable[[], object] | None) -> None:
        """`reload` reads the kubeconfig again and may be awaited; None: the library's own hook does so."""
        self._configuration = configuration
        self._reload = reload
        self._read_at = asyncio.get_running_loop().time()

    async def headers(self) -> dict[str, str]:
        """Empty where a client certificate speaks for us.

        Raises:
            Unavailable: the token's file or the kubeconfig cannot be read now.
        """
        try:
            await self._renew()
            token = await self._configuration.get_api_key_with_prefix("BearerToken")
        except TROUBLE as exc:
            raise Unavailable(f"cannot read the credentials for the API server: {exc}") from exc
        return {"Authorization": token} if token else {}

    async def _renew(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._reload is None or now - self._read_at < CREDENTIALS_LIVE:
            return
        self._read_at = now
        reading = self._reload()
        if inspect.isawaitable(reading):
            await reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach the API server."""

    host: str  # URL, possibly with a path
    tls: ssl.SSLContext
    proxy: str | None
    credentials: Credentials


async def load_access(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """Read the configuration. A given path wins, then KUBECONFIG, then the pod's ServiceAccount, then ~/.kube/config.

    Raises:
        InvalidInput: there is none, or it cannot be read.
    """
    configuration = Configuration()
    try:
        reload = await _load(configuration, kubeconfig or os.environ.get("KUBECONFIG", ""), context)
        tls = RESTClientObject(configuration).ssl_context
    except TROUBLE as exc:
        raise InvalidInput(
            f"cannot read the Kubernetes configuration ({exc}); give --kubeconfig, or set KUBECONFIG"
        ) from exc
    return Access(
        host=configuration.host, tls=tls, proxy=configuration.proxy, credentials=Credentials(configuration, reload)
    )


def default_namespace(kubeconfig: str | None = None, context: str | None = None) -> str:
    """The namespace of the kubeconfig's context, as kubectl takes it; `default` where it names none.

    Raises:
        InvalidInput: there is no such context, or no configuration.
    """
    given = kubeconfig or os.environ.get("KUBECONFIG", "") or "~/.kube/config"
    try:
        contexts, active = list_kube_config_contexts(_existing(given))  # type: ignore[no-untyped-call] # it has no types
    except TROUBLE as exc:
        raise InvalidInput(f"cannot read the kubeconfig ({exc}); give --kubeconfig or --namespace") from exc
    chosen = active if context is None else next((one for one in contexts if one["name"] == context), None)
    if chosen is None:
        raise InvalidInput(f"there is no context {context}; there are: {', '.join(one['name'] for one in contexts)}")
    return str(chosen["context"].get("namespace") or "default")


async def _load(configuration: Configuration, kubeconfig: str, context: str | None) -> Callable[[], object] | None:
    """Fill the configuration; the result reads it again, None where the library renews the token itself."""
    if not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # it has no types
        return None
    files = _existing(kubeconfig or "~/.kube/config")
    loader = await load_kube_config(  # type: ignore[no-untyped-call] # it has no types
        config_file=files, context=context, client_configuration=configuration, persist_config=False
    )
    return lambda: loader.load_and_set(configuration)


def _existing(paths: str) -> str:
    """The paths (one, or several as in KUBECONFIG) if at least one is there; the library would only warn."""
    if not any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path):
        raise ConfigException(f"there is no file {paths}")
    return paths
