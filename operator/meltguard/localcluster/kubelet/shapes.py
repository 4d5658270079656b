"""The fields of a pod that the local runner reads; what it cannot honour is read too, so that it can say so."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Unknown fields are skipped, missing ones have Kubernetes' defaults."""


class Metadata(Shape, frozen=True, kw_only=True):
    """Who the pod is, and whether it is to go."""

    name: str
    namespace: str = ""
    uid: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class FieldRef(Shape, frozen=True, kw_only=True):
    """A field of the pod itself."""

    field_path: str


class KeyRef(Shape, frozen=True, kw_only=True):
    """A key of a ConfigMap or Secret."""

    name: str = ""
    key: str = ""
    optional: bool = False


class ValueFrom(Shape, frozen=True, kw_only=True):
    """Where a variable's value is."""

    field_ref: FieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(Shape, frozen=True, kw_only=True):
    """One variable."""

    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class HttpGet(Shape, frozen=True, kw_only=True):
    """What a probe asks."""

    path: str = "/"
    port: int | str
    scheme: str = "HTTP"
    host: str = ""


class Probe(Shape, frozen=True, kw_only=True):
    """When and how a container is asked."""

    http_get: HttpGet | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    failure_threshold: int = 3
    success_threshold: int = 1


class Port(Shape, frozen=True, kw_only=True):
    """A port with a name."""

    name: str = ""
    container_port: int


class Mount(Shape, frozen=True, kw_only=True):
    """Where a volume appears."""

    name: str
    mount_path: str
    sub_path: str = ""


class Container(Shape, frozen=True, kw_only=True):
    """What to run."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[Any, ...] = ()
    ports: tuple[Port, ...] = ()
    volume_mounts: tuple[Mount, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Any = None


class KeyToPath(Shape, frozen=True, kw_only=True):
    """A key and the file it becomes."""

    key: str
    path: str


class ConfigMapSource(Shape, frozen=True, kw_only=True):
    """A ConfigMap as files."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class SecretSource(Shape, frozen=True, kw_only=True):
    """A Secret as files."""

    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class Volume(Shape, frozen=True, kw_only=True):
    """A volume; one of the kinds that we know, or none of them."""

    name: str
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    empty_dir: Any = None
    projected: Any = None


class Spec(Shape, frozen=True, kw_only=True):
    """What is wanted."""

    node_name: str = ""
    containers: tuple[Container, ...]
    init_containers: tuple[Any, ...] = ()
    volumes: tuple[Volume, ...] = ()
    readiness_gates: tuple[Any, ...] = ()
    restart_policy: str = "Always"
    service_account_name: str = "default"
    termination_grace_period_seconds: int = 30


class ContainerStatus(Shape, frozen=True, kw_only=True):
    """What we said about the container before."""

    restart_count: int = 0


class Status(Shape, frozen=True, kw_only=True):
    """What we said about the pod before."""

    phase: str = "Pending"
    pod_ip: str = msgspec.field(name="podIP", default="")
    start_time: str | None = None
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Shape, frozen=True, kw_only=True):
    """A pod bound to this node."""

    metadata: Metadata
    spec: Spec
    status: Status = Status()


API_ACCESS: Final = "kube-api-access-"
"""Name of the volume with the ServiceAccount's token that the API server adds; here a kubeconfig takes its place."""


def wants_api_access(pod: Pod) -> bool:
    """Whether the pod gets its ServiceAccount's token."""
    return any(volume.name.startswith(API_ACCESS) for volume in pod.spec.volumes)
