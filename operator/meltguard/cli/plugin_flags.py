"""kubectl's own flags for every command of the plugin, declared once."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Annotated, Any, Final

import typer

from meltguard.adapters.kubernetes_config import Flags, Persona
from meltguard.api.quantities import parse_duration
from meltguard.cli.plugin_access import Access
from meltguard.core.units import Seconds

PANEL: Final = "kubectl's own flags"
ACCESS: Final = "access"

Kubeconfig = Annotated[str | None, typer.Option(help="Kubeconfig.", rich_help_panel=PANEL)]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.", rich_help_panel=PANEL)]
Cluster = Annotated[str, typer.Option(help="Cluster of the kubeconfig.", rich_help_panel=PANEL)]
User = Annotated[str, typer.Option(help="User of the kubeconfig.", rich_help_panel=PANEL)]
Server = Annotated[str, typer.Option("--server", "-s", help="URL of the API server.", rich_help_panel=PANEL)]
Token = Annotated[str, typer.Option(help="Bearer token.", rich_help_panel=PANEL)]
Authority = Annotated[
    str, typer.Option("--certificate-authority", help="File with the server's CA.", rich_help_panel=PANEL)
]
Certificate = Annotated[str, typer.Option("--client-certificate", help="Our certificate.", rich_help_panel=PANEL)]
Key = Annotated[str, typer.Option("--client-key", help="Its key.", rich_help_panel=PANEL)]
ServerName = Annotated[
    str, typer.Option("--tls-server-name", help="Name in the server's certificate.", rich_help_panel=PANEL)
]
Insecure = Annotated[
    bool, typer.Option("--insecure-skip-tls-verify", help="Believe any server.", rich_help_panel=PANEL)
]
Timeout = Annotated[
    str, typer.Option("--request-timeout", help="Of one call, such as 5s; 0: as usual.", rich_help_panel=PANEL)
]
As = Annotated[str, typer.Option("--as", help="User to act as, where one's rights allow it.", rich_help_panel=PANEL)]
AsGroup = Annotated[list[str] | None, typer.Option(help="Group to act as; several times.", rich_help_panel=PANEL)]
AsUid = Annotated[str, typer.Option("--as-uid", help="UID to act as.", rich_help_panel=PANEL)]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; the context's where left out.")]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Policies of every namespace.")]
Selector = Annotated[str, typer.Option("--selector", "-l", help="Only policies with these labels, as kubectl has it.")]


def to_cluster(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    cluster: Cluster = "",
    user: User = "",
    server: Server = "",
    token: Token = "",
    certificate_authority: Authority = "",
    client_certificate: Certificate = "",
    client_key: Key = "",
    tls_server_name: ServerName = "",
    insecure: Insecure = False,
    request_timeout: Timeout = "0",
    as_user: As = "",
    as_group: AsGroup = None,
    as_uid: AsUid = "",
) -> Access:
    """How to reach the cluster."""
    flags = Flags(
        context=context,
        cluster=cluster,
        user=user,
        server=server,
        token=token,
        certificate_authority=certificate_authority,
        client_certificate=client_certificate,
        client_key=client_key,
        tls_server_name=tls_server_name,
        insecure_skip_tls_verify=insecure,
        request_timeout=None if request_timeout == "0" else Seconds(parse_duration(request_timeout)),
        persona=Persona(user=as_user, groups=tuple(as_group or ()), uid=as_uid),
    )
    return Access(kubeconfig=kubeconfig, flags=flags)


def _taking(build: Callable[..., Access]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a function the flags of `build` in place of its own parameter `access`."""
    flags = inspect.signature(build).parameters

    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        own = [one for name, one in inspect.signature(function).parameters.items() if name != ACCESS]

        @wraps(function)
        def run(**given: Any) -> Any:
            reached = build(**{name: given.pop(name) for name in flags})
            return function(**{ACCESS: reached}, **given)

        taken = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *flags.values())]
        run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined] # Typer reads it
        run.__annotations__ = {one.name: one.annotation for one in taken}
        return run

    return decorated


@_taking(to_cluster)
def to_namespace(access: Access, namespace: Namespace = None) -> Access:
    """How to reach the policies of one namespace."""
    return replace(access, namespace=namespace)


@_taking(to_cluster)
def to_policies(
    access: Access, namespace: Namespace = None, everywhere: AllNamespaces = False, selector: Selector = ""
) -> Access:
    """How to reach policies, those of one namespace or of all."""
    return replace(access, namespace=namespace, everywhere=everywhere, selector=selector)


on_cluster = _taking(to_cluster)
on_namespace = _taking(to_namespace)
on_policies = _taking(to_policies)
