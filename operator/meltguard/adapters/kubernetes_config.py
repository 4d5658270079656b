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
from kubernetes.aio.config.kube_config import (
    ConfigNode,
    KubeConfigLoader,
    KubeConfigMerger,
    list_kube_config_contexts,
)

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable

CREDENTIALS_LIVE: Final = Seconds(60.0)
"""How long a kubeconfig's credentials are used before they are read anew: token files and exec plugins rotate."""

TROUBLE: Final = (ConfigException, OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError)
"""What the library raises over a file that is missing or no kubeconfig: it does not look before it reads."""


BY_FLAGS: Final = "meltguard-by-flags"
"""The context that is made where flags name another cluster or user than the kubeconfig's context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Persona:
    """Whom to act as, where one's own rights allow it: kubectl's --as, --as-group and --as-uid."""

    user: str = ""
    groups: tuple[str, ...] = ()
    uid: str = ""

    def headers(self) -> list[tuple[str, str]]:
        """None where one acts as oneself.

        Raises:
            InvalidInput: groups or a uid without a user; the API server would refuse them less plainly.
        """
        if self.groups and not self.user:
            raise InvalidInput("--as-group needs --as: say which user of those groups")
        if self.uid and not self.user:
            raise InvalidInput("--as-uid needs --as: say which user has it")
        user = [("Impersonate-User", self.user)] if self.user else []
        uid = [("Impersonate-Uid", self.uid)] if self.uid else []
        return [*user, *uid, *(("Impersonate-Group", group) for group in self.groups)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What kubectl's flags say; what they leave out stands in the kubeconfig."""

    context: str | None = None
    cluster: str = ""
    user: str = ""
    server: str = ""
    token: str = ""
    certificate_authority: str = ""
    client_certificate: str = ""
    client_key: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    request_timeout: Seconds | None = None  # of one call; None: ours
    persona: Persona = Persona()


NO_FLAGS: Final = Flags()


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
    tls_server_name: str | None  # what the server's certificate is for; None: its host
    proxy: str | None
    credentials: Credentials


async def load_access(kubeconfig: str | None = None, flags: Flags = NO_FLAGS) -> Access:
    """Read the configuration; flags win. A given file comes first, then KUBECONFIG, the pod's account, ~/.kube/config.

    Raises:
        InvalidInput: there is none, or it cannot be read.
    """
    configuration = Configuration()
    try:
        reload = await _load(configuration, kubeconfig or os.environ.get("KUBECONFIG", ""), flags)
        _obey(configuration, flags)
        tls = RESTClientObject(configuration).ssl_context
    except TROUBLE as exc:
        raise InvalidInput(
            f"cannot read the Kubernetes configuration ({exc}); give --kubeconfig, or set KUBECONFIG"
        ) from exc
    return Access(
        host=configuration.host,
        tls=tls,
        tls_server_name=configuration.tls_server_name,
        proxy=configuration.proxy,
        credentials=Credentials(configuration, None if flags.token else reload),
    )


def default_namespace(kubeconfig: str | None = None, flags: Flags = NO_FLAGS) -> str:
    """The namespace of the kubeconfig's context, as kubectl takes it; `default` where it names none.

    Raises:
        InvalidInput: there is no such context, or no configuration.
    """
    given = kubeconfig or os.environ.get("KUBECONFIG", "") or "~/.kube/config"
    if flags.server and not _there(given):
        return "default"
    try:
        contexts, active = list_kube_config_contexts(_existing(given))  # type: ignore[no-untyped-call] # it has no types
    except TROUBLE as exc:
        raise InvalidInput(f"cannot read the kubeconfig ({exc}); give --kubeconfig or --namespace") from exc
    wanted = flags.context
    chosen = active if wanted is None else next((one for one in contexts if one["name"] == wanted), None)
    if chosen is None:
        raise InvalidInput(f"there is no context {wanted}; there are: {', '.join(one['name'] for one in contexts)}")
    return str(chosen["context"].get("namespace") or "default")


async def _load(configuration: Configuration, kubeconfig: str, flags: Flags) -> Callable[[], object] | None:
    """Fill the configuration; the result reads it again, None where nothing is read again by us."""
    if not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
        load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # it has no types
        return None
    paths = kubeconfig or "~/.kube/config"
    if flags.server and not _there(paths):
        return None  # the flags say all that is needed
    merged = KubeConfigMerger(_existing(paths)).config  # type: ignore[no-untyped-call] # it has no types
    context = _with_context(merged, flags) if flags.cluster or flags.user else flags.context
    loader = KubeConfigLoader(merged, active_context=context, config_base_path=None)  # type: ignore[no-untyped-call]
    await loader.load_and_set(configuration)  # type: ignore[no-untyped-call] # it has no types
    return lambda: loader.load_and_set(configuration)  # type: ignore[no-untyped-call] # it has no types


def _with_context(merged: ConfigNode, flags: Flags) -> str:
    """Add a context that is the chosen one but for the cluster and the user that the flags name."""
    chosen = merged["contexts"].get_with_name(flags.context or merged["current-context"])["context"].value
    wanted = {"clusters": flags.cluster, "users": flags.user}
    for kind, name in wanted.items():
        there = [one["name"] for one in merged[kind].value]
        if name and name not in there:
            raise InvalidInput(f"the kubeconfig has no {kind[:-1]} {name}; there are: {', '.join(there) or 'none'}")
    named = {"cluster": flags.cluster or chosen["cluster"], "user": flags.user or chosen.get("user", "")}
    merged["contexts"].value.append({"name": BY_FLAGS, "context": named})
    return BY_FLAGS


def _obey(configuration: Configuration, flags: Flags) -> None:
    """What flags say of the server and of ourselves stands above the file."""
    configuration.host = flags.server.rstrip("/") or configuration.host
    configuration.ssl_ca_cert = flags.certificate_authority or configuration.ssl_ca_cert
    configuration.cert_file = flags.client_certificate or configuration.cert_file
    configuration.key_file = flags.client_key or configuration.key_file
    configuration.tls_server_name = flags.tls_server_name or configuration.tls_server_name
    if flags.insecure_skip_tls_verify:
        configuration.verify_ssl = False
    if flags.token:
        configuration.api_key["BearerToken"] = f"Bearer {flags.token}"


def _there(paths: str) -> bool:
    return any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path)


def _existing(paths: str) -> str:
    """The paths (one, or several as in KUBECONFIG) if at least one is there; the library would only warn."""
    if not _there(paths):
        raise ConfigException(f"there is no file {paths}")
    return paths
