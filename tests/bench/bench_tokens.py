"""What it costs to know who calls: by a gateway's headers, by a token seen before, and by one to be verified.

Run as `python tests/bench/bench_tokens.py`. Writes build/bench/tokens.json: microseconds of CPU a request, least of
several rounds. The middleware's own work (stripping and setting headers) is in each of them.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from bench.judging import TOLD
from meltguard.agent.asgi import Receive, Scope, Send
from meltguard.agent.bearers import Bearers
from meltguard.agent.caller import Identify, identify_of
from meltguard.agent.identity import IdentityMiddleware
from meltguard.agent.settings import Callers
from meltguard.agent.token_keys import KeyRing
from meltguard.clock import SystemClock
from meltguard.core.units import Seconds
from meltguard.demo.report import Row, write
from support.issuer import KINDS, a_key, a_token, key_set, rules

REPORT: Final = Path("build/bench/tokens.json")
KNOWN_GOAL: Final = 10.0
"""Microseconds that a token seen before may cost."""

HEADERS: Final = [
    (b"host", b"images.example"),
    (b"user-agent", b"OpenAI/Python 3.54.0"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"content-type", b"application/json"),
    (b"content-length", b"120"),
    (b"connection", b"keep-alive"),
    (b"x-meltguard-tier", b"plus"),
    (b"x-meltguard-user", b"ann"),
]


class Held:
    """The issuer's set, at hand."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    async def fetch(self) -> bytes:
        """The set."""
        await asyncio.sleep(0)
        return self._raw


async def nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """An app that costs nothing."""


async def unused() -> dict[str, object]:
    """No client."""
    raise AssertionError


async def unsent(_message: object) -> None:
    """No client."""


def a_scope(token: str | None) -> Scope:
    """One request."""
    bearing = [] if token is None else [(b"authorization", b"Bearer " + token.encode())]
    return {"type": "http", "path": "/v1/images", "client": ("10.0.0.1", 1), "headers": [*HEADERS, *bearing]}


def cost(callers: Callers, identify: Identify, scopes: list[Scope], rounds: int) -> float:
    """Microseconds of CPU a request, in the best round."""
    known = IdentityMiddleware(nothing, identify, callers)

    def one_round() -> float:
        began = time.process_time()
        for scope in scopes:
            served = known(scope, unused, unsent)
            try:
                served.send(None)
            except StopIteration:
                continue
            raise AssertionError("it waited")
        return (time.process_time() - began) / len(scopes) * 1e6

    return min(one_round() for _ in range(rounds))


def measured(rounds: int, told: Callable[[str], None]) -> list[Row]:
    """Every way to know a caller."""
    gateway, strangers = Callers(trust_gateway=True), Callers()
    plain = [a_scope(None)] * 5_000
    found = {
        "strangers": cost(strangers, identify_of(strangers), plain, rounds),
        "gatewaysWord": cost(gateway, identify_of(gateway), plain, rounds),
    }
    for algorithm in KINDS:
        told(f"bench-tokens: {algorithm}")
        key = a_key("k", algorithm)
        ring = KeyRing(Held(key_set(key)), SystemClock(), Seconds(300.0), Seconds(10.0))
        asyncio.run(ring.ask())
        callers = Callers(tokens=rules("unused"))

        def bearers(callers: Callers = callers, ring: KeyRing = ring) -> Bearers:
            assert callers.tokens is not None
            return Bearers(callers, callers.tokens, ring, SystemClock())

        many = [a_scope(a_token(key, algorithm, jti=str(number))) for number in range(300)]
        forged = [a_scope(a_token(a_key("k", algorithm), algorithm))] * 300
        found[f"{algorithm}Known"] = cost(callers, bearers(), [many[0]] * 5_000, rounds)
        found[f"{algorithm}First"] = min(cost(callers, bearers(), many, 1) for _ in range(rounds))
        found[f"{algorithm}Forged"] = cost(callers, bearers(), forged, rounds)
    return [_row(name, value) for name, value in found.items()]


def _row(name: str, value: float) -> Row:
    judged = name.endswith("Known")
    goal = f"<= {KNOWN_GOAL:g}" if judged else TOLD
    return Row(name=name, value=round(value, 1), unit="us", goal=goal, met=not judged or value <= KNOWN_GOAL)


def main() -> int:
    """0: every goal is met; 1: not."""
    parser = argparse.ArgumentParser(prog="bench_tokens", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=REPORT, help="the report")
    options = parser.parse_args()
    console = Console()
    rows = measured(options.rounds, console.print)
    write(options.out, [row.as_json() for row in rows])
    table = Table(title="to know who calls, CPU a request", title_justify="left")
    for column in ("name", "value", "goal", ""):
        table.add_column(column)
    for row in rows:
        table.add_row(row.name, f"{row.value} {row.unit}", row.goal, "met" if row.met else "[red]not met[/red]")
    console.print(table)
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
