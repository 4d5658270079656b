"""A block of loopback addresses for each plane, 127.B.0.0/16, so that several planes run side by side."""

import errno
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from meltguard.errors import InvalidInput, Unavailable

BLOCKS: Final = range(64, 251)
FREE_ADDRESSES: Final = 60 * 250
WELL_KNOWN_PORTS: Final = (6443, 2379, 9090)
"""Asked once more, in case somebody else's program took an address of the block."""


@dataclass(frozen=True, slots=True)
class AddressBlock:
    """The addresses 127.B.0.0 to 127.B.255.255.

    127.B.0.x are the components', 127.B.1.x to 127.B.60.x free for whoever uses the plane, 127.B.64.0 to 127.B.127.255
    the pods' on fake nodes, 127.B.255.x the pods' on the local runner.
    """

    number: int  # B

    @property
    def network(self) -> str:
        """The whole block."""
        return f"127.{self.number}.0.0/16"

    @property
    def fake_pods(self) -> str:
        """What kwok hands out."""
        return f"127.{self.number}.64.0/18"

    def component(self, n: int) -> str:
        """An address for a component of the plane, n from 1 to 254."""
        return f"127.{self.number}.0.{n}"

    def runner_pod(self, n: int) -> str:
        """An address for a pod that runs as real processes, n from 0 to 253."""
        return f"127.{self.number}.255.{n % 254 + 1}"

    def free(self, n: int) -> str:
        """The n-th address (from 0) that nothing of the plane uses.

        >>> AddressBlock(70).free(250)
        '127.70.2.1'

        Raises:
            InvalidInput: there are not so many.
        """
        if not 0 <= n < FREE_ADDRESSES:
            raise InvalidInput(f"address {n} of a plane: there are {FREE_ADDRESSES}, counted from 0")
        return f"127.{self.number}.{1 + n // 250}.{1 + n % 250}"


@contextmanager
def taken_block() -> Iterator[AddressBlock]:
    """A block that is ours while the body runs; no other plane on this machine gets it.

    The lock is an abstract socket, not a file: it holds for exactly those who share our loopback, whatever their user,
    cache or container, and it goes with the process.

    Raises:
        Unavailable: every block is taken.
    """
    numbers = list(BLOCKS)
    random.shuffle(numbers)  # planes that start together seldom meet
    for number in numbers:
        lock = _lock(number)
        if lock is None:
            continue
        with lock:
            block = AddressBlock(number)
            if _is_quiet(block):
                yield block
                return
    raise Unavailable(f"all {len(BLOCKS)} address blocks are taken; stop some planes (`meltguard local down`)")


def _lock(number: int) -> socket.socket | None:
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(f"\0meltguard-plane-127.{number}")
    except OSError as exc:
        lock.close()
        if exc.errno == errno.EADDRINUSE:
            return None
        raise Unavailable(f"cannot lock an address block: {os.strerror(exc.errno or 0)}") from exc
    return lock


def _is_quiet(block: AddressBlock) -> bool:
    """Nobody listens where our components will."""
    for n in range(1, 10):
        for port in WELL_KNOWN_PORTS:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                if probe.connect_ex((block.component(n), port)) == 0:
                    return False
    return True
