"""How every command of the plugin reaches the cluster, and in what form it prints."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
import yaml

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_config import NO_FLAGS, Flags, default_namespace
from meltguard.controller.policies import Object, Policies
from meltguard.errors import InvalidInput


class Form(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class DryRun(StrEnum):
    """What of a change is only tried."""

    NONE = "none"
    SERVER = "server"


def document(form: Form, told: object) -> str:
    """The same as people read it, for programs: JSON, or YAML."""
    if form is Form.JSON:
        return json.dumps(told, indent=2)
    return yaml.safe_dump(told, sort_keys=False).rstrip()


def object_name(body: Object) -> str:
    """As kubectl names a policy with -o name."""
    return f"imageservicepolicy.meltguard.io/{body['metadata']['name']}"


def without_managed_fields(body: Object) -> Object:
    """A policy as people want to read it: who owns which field is nobody's matter here."""
    return {**body, "metadata": {key: value for key, value in body["metadata"].items() if key != "managedFields"}}


Output = Annotated[Form, typer.Option("--output", "-o", help="table, wide, json, yaml or name.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Print again whenever something changed, until Ctrl-C.")]
Try = Annotated[DryRun, typer.Option("--dry-run", help="server: the API server judges the change and keeps nothing.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What kubectl's flags say."""

    namespace: str | None = None
    everywhere: bool = False
    selector: str = ""
    kubeconfig: str | None = None
    flags: Flags = NO_FLAGS

    @asynccontextmanager
    async def api(self) -> AsyncIterator[KubernetesApi]:
        """The API server, as whom the flags say. Raises InvalidInput where they do not fit together."""
        async with await KubernetesApi.connect(self.kubeconfig, self.flags) as api:
            yield api

    @asynccontextmanager
    async def policies(self) -> AsyncIterator[Policies]:
        """The policies that the flags are about.

        Raises:
            InvalidInput: -A and -n contradict each other, or there is no such kubeconfig or context.
        """
        if self.everywhere and self.namespace:
            raise InvalidInput("-A means every namespace, -n one of them: give one of the two")
        namespace = None if self.everywhere else self.namespace or default_namespace(self.kubeconfig, self.flags)
        async with self.api() as api:
            yield Policies(api=api, namespace=namespace, selector=self.selector)
