"""`meltguard operator`: the process that the chart's Deployment runs."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from meltguard.clock import SystemClock
from meltguard.controller.process import run_operator
from meltguard.controller.settings import OperatorSettings, load_config, load_keys
from meltguard.errors import InvalidInput

KOPFS = ("k8s_ref", "k8s_skip", "settings")
"""What Kopf hangs on its log records for its own use; not all of it can be written as JSON."""


def operator(
    namespace: Annotated[str, typer.Option(help="The operator's own namespace.", envvar="POD_NAMESPACE")],
    config: Annotated[Path, typer.Option(help="config.yaml, as the chart writes it.")],
    signing_keys: Annotated[Path, typer.Option(help="Directory of the signing keys' Secret.")],
    lease: Annotated[str, typer.Option(help="Lease that elects the holder.")] = "meltguard",
    listen: Annotated[str, typer.Option(help="Address of /healthz, /readyz and /metrics.")] = "0.0.0.0:8080",
    identity: Annotated[
        str, typer.Option(help="The pod's name: in logs, and in the Lease. One process at a time.")
    ] = "",
) -> None:
    """Run the operator until it is told to stop or loses the Lease."""
    read = load_config(config)
    start_logging(read.log_level, identity)
    host, port = parse_address(listen)
    settings = OperatorSettings(
        namespace=namespace,
        lease=lease,
        listen_host=host,
        listen_port=port,
        config=read,
        keys=load_keys(signing_keys),
        identity=identity,
    )
    raise typer.Exit(asyncio.run(run_operator(settings, SystemClock())))


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`.

    Raises:
        InvalidInput: it is not.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise InvalidInput(f"--listen {text!r} is no address; write host:port, such as 0.0.0.0:8080")
    return host, int(port)


def start_logging(level: str, identity: str) -> None:
    """JSON lines on standard error, one shape for us and for Kopf."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter(
        "{asctime}{levelname}{name}{message}",
        style="{",
        static_fields={"pod": identity},
        reserved_attrs=[*RESERVED_ATTRS, *KOPFS],
    )
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
