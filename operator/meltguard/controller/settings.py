"""The operator's configuration: flags, one YAML file, one directory of keys; read once at start."""

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from meltguard.adapters.prometheus_answer import PrometheusSource
from meltguard.api.signed import SigningKey
from meltguard.api.wire import SpecModel
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput


class SourceFile(SpecModel):
    """One metric source."""

    url: Annotated[str, Field(pattern="^https?://")]
    """Prometheus' address."""
    bearer_token_file: str = ""
    """File with a token, read at each query."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Headers to send, such as a tenant."""
    ca_file: str = ""
    """CA bundle."""


class ConfigFile(SpecModel):
    """config.yaml as the chart writes it."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much is logged."""
    metric_sources: dict[str, SourceFile] = Field(default_factory=dict)
    """Metric sources by name."""
    public_keys_config_map: str = "meltguard-agent-keys"
    """ConfigMap that publishes the public keys for agents."""
    node_label_keys: tuple[str, ...] = ()
    """Label keys that the admission policy lets us change."""
    node_taint_keys: tuple[str, ...] = ()
    """Taint keys that the admission policy lets us change."""
    cluster_queues: tuple[str, ...] = ()
    """ClusterQueues whose numbers we may change: one that no pool names any more is looked at too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings:
    """Everything that the process is told."""

    namespace: str
    lease: str
    listen_host: str
    listen_port: int
    config: ConfigFile
    keys: tuple[SigningKey, ...]  # the first signs
    identity: str = ""  # the pod's name; "" where it is not known that only one process bears it at a time
    tick: Seconds = field(default=Seconds(2.0))
    moves_every: Seconds = field(default=Seconds(1.0))

    def sources(self) -> dict[str, PrometheusSource]:
        """The metric sources for the adapter."""
        return {
            name: PrometheusSource(
                url=one.url, bearer_token_file=one.bearer_token_file, headers=one.headers, ca_file=one.ca_file
            )
            for name, one in self.config.metric_sources.items()
        }


def load_config(path: Path) -> ConfigFile:
    """config.yaml.

    Raises:
        InvalidInput: it is missing, no YAML, or a field is wrong; the text names it.
    """
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return ConfigFile.model_validate(read)
    except OSError as exc:
        raise InvalidInput(f"--config {path}: {exc.strerror}; give the path of the operator's config.yaml") from exc
    except yaml.YAMLError as exc:
        raise InvalidInput(f"--config {path} is no YAML: {exc}") from exc
    except ValidationError as exc:
        first = exc.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"--config {path}: {where}: {first['msg']}") from exc


def load_keys(directory: Path) -> tuple[SigningKey, ...]:
    """The signing keys of a mounted Secret: entry `active` names the one that signs, each other entry is a key.

    Raises:
        InvalidInput: an entry is missing or no key. No key's text is ever part of an error.
    """
    try:
        entries = {one.name: one.read_text().strip() for one in directory.iterdir() if _is_entry(one)}
    except OSError as exc:
        raise InvalidInput(f"--signing-keys {directory}: {exc.strerror}; mount the Secret with the keys there") from exc
    active = entries.pop("active", "")
    if active not in entries:
        names = ", ".join(sorted(entries)) or "none"
        raise InvalidInput(f"--signing-keys {directory}: active is {active!r}, the keys are: {names}")
    return (_key(active, entries.pop(active)), *(_key(name, text) for name, text in sorted(entries.items())))


def _is_entry(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _key(name: str, text: str) -> SigningKey:
    try:
        return SigningKey(name, base64.b64decode(text, validate=True))
    except binascii.Error as exc:
        raise InvalidInput(f"signing key {name!r} is not base64: make one with `meltguard keys new`") from exc
