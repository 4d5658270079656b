"""A pod's volumes as directories of its own; ConfigMaps and Secrets are brought up to date file by file."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from meltguard.localcluster.cache import private_directory
from meltguard.localcluster.kubelet.environment import Data
from meltguard.localcluster.kubelet.refusal import NotNow
from meltguard.localcluster.kubelet.shapes import API_ACCESS, KeyToPath, Pod, Volume


def places_of(pod: Pod, directory: Path) -> dict[str, Path]:
    """Where each of the container's mountPaths really is."""
    return {
        mount.mount_path: directory / mount.name / mount.sub_path if mount.sub_path else directory / mount.name
        for mount in pod.spec.containers[0].volume_mounts
        if not mount.name.startswith(API_ACCESS)
    }


def write_volumes(pod: Pod, directory: Path, config_maps: Mapping[str, Data], secrets: Mapping[str, Data]) -> None:
    """Make every volume's directory hold what it should; writes only what differs, each file at once.

    Raises:
        NotNow: a ConfigMap or Secret that is not optional is missing.
    """
    for volume in pod.spec.volumes:
        if volume.name.startswith(API_ACCESS):
            continue
        place = private_directory(directory / volume.name)
        files = _files(volume, config_maps, secrets)
        if files is not None:
            write_files(place, files)


def write_files(place: Path, files: Mapping[str, bytes]) -> None:
    """Make a directory hold exactly these files, readable by the owner only."""
    for path, content in files.items():
        file = place / path
        if not file.is_file() or file.read_bytes() != content:
            private_directory(file.parent)
            beside = file.with_name(f".{file.name}.new")
            beside.touch(mode=0o600)
            beside.write_bytes(content)
            beside.replace(file)
    for file in list(place.rglob("*")):
        if file.is_file() and str(file.relative_to(place)) not in files:
            file.unlink()


def _files(volume: Volume, config_maps: Mapping[str, Data], secrets: Mapping[str, Data]) -> dict[str, bytes] | None:
    """Content by path; None for a directory that belongs to the container."""
    if volume.config_map:
        source = volume.config_map
        return _selected(f"ConfigMap {source.name}", config_maps.get(source.name), source.items, source.optional)
    if volume.secret:
        secret = volume.secret
        return _selected(f"Secret {secret.secret_name}", secrets.get(secret.secret_name), secret.items, secret.optional)
    return None


def _selected(
    what: str,
    data: Data | None,
    items: Iterable[KeyToPath],
    optional: bool,  # noqa: FBT001 - Kubernetes' own field
) -> dict[str, bytes]:
    if data is None and not optional:
        raise NotNow(f"there is no {what}")
    data = data or {}
    chosen = {item.path: item.key for item in items} or {key: key for key in data}
    missing = [key for key in chosen.values() if key not in data]
    if missing and not optional:
        raise NotNow(f"{what} has no key {missing[0]!r}")
    return {path: data[key] for path, key in chosen.items() if key in data}
