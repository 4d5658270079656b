"""The operator on a fast clock, for tests: no option of `meltguard` leads here."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from faults.fast_clock import FastClock
from meltguard.cli.operator import parse_address, start_logging
from meltguard.controller.process import run_operator
from meltguard.controller.settings import OperatorSettings, load_config, load_keys
from meltguard.core.units import Seconds

TICK: Final = Seconds(0.5)
MOVES_EVERY: Final = Seconds(0.25)
"""Of the machine's time: decisions and steps stay a few of the law's seconds apart."""


def main() -> int:
    """Run it with the chart's arguments, and the clock's."""
    told = _arguments()
    config = load_config(told.config)
    start_logging(config.log_level, told.identity)
    host, port = parse_address(told.listen)
    settings = OperatorSettings(
        namespace=told.namespace,
        lease=told.lease,
        listen_host=host,
        listen_port=port,
        config=config,
        keys=load_keys(told.signing_keys),
        identity=told.identity,
        tick=TICK,
        moves_every=MOVES_EVERY,
    )
    return asyncio.run(run_operator(settings, FastClock(began=told.began, rate=told.rate)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("--namespace", "--lease", "--listen", "--identity"):
        parser.add_argument(name, required=True)
    for name in ("--config", "--signing-keys"):
        parser.add_argument(name, type=Path, required=True)
    for name in ("--began", "--rate"):
        parser.add_argument(name, type=float, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
