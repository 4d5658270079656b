"""How every command of the plugin reaches the cluster: kubectl's own flags, and its defaults."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.kubernetes_config import default_namespace
from meltguard.controller.policies import Policies
from meltguard.errors import InvalidInput

Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; the context's where left out.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Policies of every namespace.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Kubeconfig, as kubectl takes it.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]


class Form(StrEnum):
    """How a list is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Output = Annotated[Form, typer.Option("--output", "-o", help="table, wide, json, yaml or name.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Print again whenever something changed, until Ctrl-C.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What kubectl's flags say."""

    namespace: str | None = None
    everywhere: bool = False
    kubeconfig: str | None = None
    context: str | None = None

    @asynccontextmanager
    async def policies(self) -> AsyncIterator[Policies]:
        """The policies that the flags are about.

        Raises:
            InvalidInput: -A and -n contradict each other, or there is no such kubeconfig or context.
        """
        if self.everywhere and self.namespace:
            raise InvalidInput("-A means every namespace, -n one of them: give one of the two")
        namespace = None if self.everywhere else self.namespace or default_namespace(self.kubeconfig, self.context)
        async with await KubernetesApi.connect(self.kubeconfig, self.context) as api:
            yield Policies(api=api, namespace=namespace)
