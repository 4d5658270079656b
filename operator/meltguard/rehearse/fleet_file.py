"""The fleet as a file or as flags say it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from meltguard.errors import InvalidInput
from meltguard.rehearse.fleet_plan import FleetPlan
from meltguard.rehearse.yaml_file import documents, in_words


def read_fleet(path: Path | None, counts: Sequence[str]) -> FleetPlan:
    """The file, with what POOL=COUNT or POOL=COUNTxGPUS say put over it.

    Raises:
        InvalidInput: neither is given, or one is wrong; the text names the field and the value.
    """
    body = _body(path) if path is not None else {"pools": {}}
    where = str(path) if path is not None else "--nodes"
    if path is None and not counts:
        raise InvalidInput(
            "how many nodes there are is not told; say --nodes inference=4 --nodes research=8x8 (nodes x GPUs of "
            "each), or --fleet FILE with the work that runs there"
        )
    pools = body.get("pools")
    if not isinstance(pools, dict):
        raise InvalidInput(f"{where}: pools: is no mapping of pools to their nodes")
    for text in counts:
        name, size = _count(text)
        given = pools.get(name)
        pools[name] = {**(given if isinstance(given, dict) else {}), **size}
    try:
        return FleetPlan.model_validate(body)
    except ValidationError as exc:
        raise InvalidInput(f"{where}: {in_words(exc, 'docs/rehearse.md lists them')}") from exc


def _body(path: Path) -> dict[str, Any]:
    match documents(path, "--fleet takes a YAML file"):
        case [dict(body)]:
            return body
        case _:
            raise InvalidInput(f"{path}: is no fleet; it begins with pools: (see docs/rehearse.md)")


def _count(text: str) -> tuple[str, dict[str, int]]:
    name, _, size = text.partition("=")
    nodes, times, gpus = size.partition("x")
    if not name or not nodes.isdecimal() or (times and not gpus.isdecimal()):
        raise InvalidInput(f"--nodes {text!r} is no count; write POOL=NODES or POOL=NODESxGPUS, such as research=8x8")
    return name, {"nodes": int(nodes)} | ({"gpus": int(gpus)} if times else {})
