"""A container's variables and command line, as Kubernetes would expand them. Pure."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meltguard.localcluster.kubelet.refusal import NotNow
from meltguard.localcluster.kubelet.shapes import Container, KeyRef, Pod, ValueFrom

ENTRYPOINT: Final = ("meltguard",)
ANY_ADDRESS: Final = "0.0.0.0"
Data = Mapping[str, bytes]  # the keys of a ConfigMap or Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a pod finds around it."""

    ip: str
    node: str
    config_maps: Mapping[str, Data]  # by name; those that exist
    secrets: Mapping[str, Data]
    places: Mapping[str, Path]  # where each mountPath really is


def environment_of(pod: Pod, around: Surroundings) -> dict[str, str]:
    """The container's variables, in order, so that later ones can refer to earlier ones.

    Raises:
        NotNow: a ConfigMap, Secret or key that is not optional is missing.
    """
    variables: dict[str, str] = {}
    for wanted in pod.spec.containers[0].env:
        if wanted.value_from is None:
            variables[wanted.name] = localized(expand(wanted.value, variables), around)
            continue
        value = _value(wanted.value_from, pod, around)
        if value is not None:
            variables[wanted.name] = value
    return variables


def command_of(container: Container, variables: Mapping[str, str], around: Surroundings) -> list[str]:
    """The command line; an image's own entrypoint is `meltguard`."""
    command = container.command or ENTRYPOINT
    return [localized(expand(text, variables), around) for text in (*command, *container.args)]


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace $(NAME) by its value; $$(NAME) stands for a literal $(NAME), an unknown name stays.

    >>> expand("--name=$(POD) $$(POD) $(WHO)", {"POD": "a"})
    '--name=a $(POD) $(WHO)'
    """

    def replaced(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        return variables.get(found[1], found[0])

    return re.sub(r"\$?\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)", replaced, text)


def localized(text: str, around: Surroundings) -> str:
    """A path below a mountPath becomes where it really is, 0.0.0.0 the pod's address: there are no namespaces here.

    Both at the beginning of the text and after its first equals sign.
    """
    flag, equals, value = text.partition("=")
    if not equals:
        return _localized(text, around)
    return f"{_localized(flag, around)}={_localized(value, around)}"


def _localized(text: str, around: Surroundings) -> str:
    if text == ANY_ADDRESS or text.startswith(f"{ANY_ADDRESS}:"):
        return around.ip + text.removeprefix(ANY_ADDRESS)
    for mount_path in sorted(around.places, key=len, reverse=True):
        if text == mount_path or text.startswith(mount_path.rstrip("/") + "/"):
            return f"{around.places[mount_path]}{text[len(mount_path.rstrip('/')) :]}"
    return text


def _value(source: ValueFrom, pod: Pod, around: Surroundings) -> str | None:
    """None where an optional reference leads nowhere."""
    if source.field_ref is not None:
        return _field(source.field_ref.field_path, pod, around)
    if source.config_map_key_ref is not None:
        return _key("ConfigMap", source.config_map_key_ref, around.config_maps)
    if source.secret_key_ref is not None:
        return _key("Secret", source.secret_key_ref, around.secrets)
    return None


def _key(kind: str, ref: KeyRef, objects: Mapping[str, Data]) -> str | None:
    value = objects.get(ref.name, {}).get(ref.key)
    if value is not None:
        return value.decode(errors="replace")
    if ref.optional:
        return None
    raise NotNow(f"there is no {kind} {ref.name!r} with the key {ref.key!r}")


FIELDS: Final[Mapping[str, Callable[[Pod, Surroundings], str]]] = {
    "metadata.name": lambda pod, _: pod.metadata.name,
    "metadata.namespace": lambda pod, _: pod.metadata.namespace,
    "metadata.uid": lambda pod, _: pod.metadata.uid,
    "spec.nodeName": lambda _, around: around.node,
    "spec.serviceAccountName": lambda pod, _: pod.spec.service_account_name,
    "status.podIP": lambda _, around: around.ip,
    "status.hostIP": lambda _, around: around.ip,
}


def _field(path: str, pod: Pod, around: Surroundings) -> str:
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if keyed is not None:
        held = pod.metadata.labels if keyed[1] == "labels" else pod.metadata.annotations
        return held.get(keyed[2], "")
    if path not in FIELDS:
        raise NotNow(f"the local runner does not know the field {path}")
    return FIELDS[path](pod, around)
