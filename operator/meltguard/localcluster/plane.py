"""The local plane: a real control plane as processes on loopback, gone without a trace when the body ends."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.core.units import Seconds
from meltguard.localcluster import components
from meltguard.localcluster.addresses import AddressBlock, taken_block
from meltguard.localcluster.asking import Door
from meltguard.localcluster.binaries import plane_binaries
from meltguard.localcluster.cache import private_directory, require_linux
from meltguard.localcluster.components import Site
from meltguard.localcluster.credentials import Credentials, make_credentials
from meltguard.localcluster.directories import own_directory
from meltguard.localcluster.kubeconfig import with_token
from meltguard.localcluster.ports import API_SERVER, PROMETHEUS, VALKEY
from meltguard.localcluster.processes import Children, Component
from meltguard.localcluster.progress import Progress, progress_on
from meltguard.localcluster.readiness import await_default_account

TOKEN_LIFE: Final = Seconds(4 * 3600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneOptions:
    """What may differ between planes."""

    directory: Path | None = None  # must be empty or missing; None: one of our own below the cache
    keep_data: bool = False  # leave the directory (logs, audit log, data) when the plane ends
    scrape_interval: Seconds = Seconds(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A running plane."""

    directory: Path
    block: AddressBlock
    binaries: Mapping[str, Path]  # kubectl, promtool, ... by name
    kubeconfig: Path  # the administrator's
    api_server: str  # URL
    certificate_authority: Path
    prometheus_url: str
    valkey_url: str
    audit_log: Path  # JSON lines, complete up to the last answered request
    prometheus_targets: Path  # drop file_sd JSON files here; read within a second
    logs: Path  # one file per component
    pod_logs: Path  # NAMESPACE_NAME.log of each pod that the local runner runs
    _children: Children
    _credentials: Credentials

    @property
    def pod_network(self) -> str:
        """Where kwok's pods get their addresses."""
        return self.block.fake_pods

    @property
    def processes(self) -> dict[str, int]:
        """Process id of each component that runs now."""
        return self._children.pids()

    def address(self, n: int) -> str:
        """The n-th address (from 0) that nothing else of the plane uses; all its ports are yours."""
        return self.block.free(n)

    def component_list(self) -> list[Component]:
        """Every component, running or not."""
        return self._children.components()

    def restart(self, name: str) -> None:
        """End a component, if it still runs, and start it anew; returns when it is ready.

        Raises:
            InvalidInput: there is no such component.
            Unavailable: it does not become ready.
        """
        self._children.restart(name)

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Write a kubeconfig with a token of this ServiceAccount, good for four hours.

        Raises:
            Unavailable: there is no such ServiceAccount, or no answer.
        """
        door = _api_door(self.block, self._credentials)
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        made = door.create(path, {**request, "spec": {"expirationSeconds": int(TOKEN_LIFE)}})
        place = private_directory(self.directory / "accounts") / f"{namespace}_{name}.kubeconfig"
        return with_token(place, self._credentials.endpoint, made["status"]["token"], namespace)


@contextmanager
def running_plane(options: PlaneOptions | None = None, progress: Progress | None = None) -> Iterator[Plane]:
    """A plane that is ready, for as long as the body runs. Blocks: seconds, or minutes where programs must be built.

    When the body ends, by whatever exception too, every process has ended, nothing listens and the directory is gone;
    when this process is killed, the kernel kills every component at once and the next plane removes the directory.

    Raises:
        InvalidInput: not Linux, or the directory is not empty.
        Unavailable: a program cannot be had, or does not become ready; the text has the end of its log.
    """
    require_linux()
    options, progress = options or PlaneOptions(), progress or progress_on()
    binaries = plane_binaries(progress)
    with ExitStack() as stack:
        directory = stack.enter_context(own_directory(options.directory, kept=options.keep_data))
        block = stack.enter_context(taken_block())
        site = Site(
            directory=directory,
            block=block,
            binaries=binaries,
            credentials=make_credentials(directory, block),
            scrape_interval=options.scrape_interval,
        )
        components.write_configuration(site)
        children = stack.enter_context(Children(directory))
        _start(site, children, progress)
        yield _plane(site, children)


def _start(site: Site, children: Children, progress: Progress) -> None:
    """Start every component and wait until all are ready and pods can be made."""
    progress.begin(f"starting a control plane on {site.block.network}")
    try:
        early = [component(site) for component in components.EARLY]
        late = [component(site) for component in components.LATE]
        for component in early:
            children.start(component)
        for component in early[:2]:
            progress.update(f"waiting for {component.name}")
            children.await_ready(component.name)
        for component in late:
            children.start(component)
        for component in (*early, *late):
            progress.update(f"waiting for {component.name}")
            children.await_ready(component.name)
        await_default_account(_api_door(site.block, site.credentials))
    except BaseException:
        progress.end("failed")
        raise
    progress.end("ready")


def _plane(site: Site, children: Children) -> Plane:
    block = site.block
    return Plane(
        directory=site.directory,
        block=block,
        binaries=site.binaries,
        kubeconfig=site.credentials.admin,
        api_server=site.credentials.endpoint.url,
        certificate_authority=site.credentials.authority,
        prometheus_url=f"http://{block.component(PROMETHEUS)}:9090",
        valkey_url=f"redis://{block.component(VALKEY)}:6379/0",
        audit_log=components.audit_log(site),
        prometheus_targets=components.targets_directory(site),
        logs=children.logs,
        pod_logs=site.directory / "pods" / "logs",
        _children=children,
        _credentials=site.credentials,
    )


def _api_door(block: AddressBlock, credentials: Credentials) -> Door:
    return Door(block.component(API_SERVER), 6443, credentials.tls)
