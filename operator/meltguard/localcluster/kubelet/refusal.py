"""Which pods the local runner does not run, and why: it says so in their status instead of running them half."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meltguard.localcluster.kubelet.shapes import API_ACCESS, Container, Pod, Volume

PULL: Final = "ErrImagePull"
CONFIG: Final = "CreateContainerConfigError"


class NotNow(Exception):
    """Something that the pod refers to is missing; it may yet come."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod does not run."""

    reason: str  # as the kubelet would call it
    message: str


def refusal_of(pod: Pod) -> Refusal | None:
    """The first reason against running this pod; None where there is none.

    Images are not fetched: an image whose repository is `meltguard`, or lies below a path that begins with it, stands
    for the program `meltguard` of this Python environment; no other can be run.
    """
    image = pod.spec.containers[0].image
    if not is_ours(image):
        return Refusal(PULL, f"the local runner runs this checkout's meltguard, not images; {image!r} is not ours")
    for unsupported in _unsupported(pod):
        return Refusal(CONFIG, f"the local runner does not know {unsupported}; leave it out on the local plane")
    return None


def is_ours(image: str) -> bool:
    """Whether an image's name stands for this checkout.

    >>> is_ours("ghcr.io/example/meltguard:0.1.0"), is_ours("meltguard@sha256:00"), is_ours("nginx:meltguard")
    (True, True, False)
    """
    repository = image.partition("@")[0]
    head, slash, last = repository.rpartition("/")
    repository = head + slash + last.partition(":")[0]  # a colon before the last slash is a port
    return repository.endswith("meltguard") or "/meltguard" in repository


def _unsupported(pod: Pod) -> Iterator[str]:
    spec = pod.spec
    if spec.init_containers:
        yield "initContainers"
    if len(spec.containers) > 1:
        yield "a second container"
    if spec.readiness_gates:
        yield "readinessGates"
    yield from _in_container(spec.containers[0])
    for volume in spec.volumes:
        if not _is_known(volume):
            yield f"the kind of the volume {volume.name!r}"


def _in_container(container: Container) -> Iterator[str]:
    if container.env_from:
        yield "envFrom"
    if container.lifecycle:
        yield "lifecycle hooks"
    for variable in container.env:
        source = variable.value_from
        if source and not (source.field_ref or source.config_map_key_ref or source.secret_key_ref):
            yield f"the valueFrom of the variable {variable.name}"
    for probe in (container.startup_probe, container.liveness_probe, container.readiness_probe):
        if probe and probe.http_get is None:
            yield "probes other than httpGet"


def _is_known(volume: Volume) -> bool:
    known = (volume.config_map, volume.secret, volume.empty_dir)
    return volume.name.startswith(API_ACCESS) or any(kind is not None for kind in known)
