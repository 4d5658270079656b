"""How every command of the plugin reaches the cluster: kubectl's own flags, and its defaults."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer
import yaml

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_config import Persona, default_namespace
from meltguard.controller.policies import Policies
from meltguard.errors import InvalidInput

Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; the context's where left out.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Policies of every namespace.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Kubeconfig, as kubectl takes it.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]
As = Annotated[str, typer.Option("--as", help="User to act as, where one's own rights allow it.")]
AsGroup = Annotated[list[str] | None, typer.Option(help="Group to act as; may be given several times.")]


class Form(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def document(form: Form, told: object) -> str:
    """The same as people read it, for programs: JSON, or YAML."""
    if form is Form.JSON:
        return json.dumps(told, indent=2)
    return yaml.safe_dump(told, sort_keys=False).rstrip()


Output = Annotated[Form, typer.Option("--output", "-o", help="table, wide, json, yaml or name.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Print again whenever something changed, until Ctrl-C.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What kubectl's flags say."""

    namespace: str | None = None
    everywhere: bool = False
    kubeconfig: str | None = None
    context: str | None = None
    as_user: str = ""
    as_group: Sequence[str] | None = None

    @asynccontextmanager
    async def api(self) -> AsyncIterator[KubernetesApi]:
        """The API server, as whom the flags say. Raises InvalidInput where they do not fit together."""
        persona = Persona(user=self.as_user, groups=tuple(self.as_group or ()))
        async with await KubernetesApi.connect(self.kubeconfig, self.context, persona) as api:
            yield api

    @asynccontextmanager
    async def policies(self) -> AsyncIterator[Policies]:
        """The policies that the flags are about.

        Raises:
            InvalidInput: -A and -n contradict each other, or there is no such kubeconfig or context.
        """
        if self.everywhere and self.namespace:
            raise InvalidInput("-A means every namespace, -n one of them: give one of the two")
        namespace = None if self.everywhere else self.namespace or default_namespace(self.kubeconfig, self.context)
        async with self.api() as api:
            yield Policies(api=api, namespace=namespace)
