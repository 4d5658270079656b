import socket
import subprocess
import sys

import pytest

from meltguard.errors import InvalidInput
from meltguard.localcluster.addresses import BLOCKS, AddressBlock, taken_block

HOLD = """
from meltguard.localcluster.addresses import taken_block
with taken_block() as block:
    print(block.number, flush=True)
    input()
"""


def test_two_planes_get_different_blocks() -> None:
    with taken_block() as one, taken_block() as other:
        assert one != other
        assert {one.number, other.number} <= set(BLOCKS)


def test_a_block_is_free_again_when_its_process_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        number = int(holder.stdout.readline())
        name = f"\0meltguard-plane-127.{number}"
        with socket.socket(socket.AF_UNIX) as lock, pytest.raises(OSError, match="in use"):
            lock.bind(name)
        holder.kill()
        holder.wait()
        with socket.socket(socket.AF_UNIX) as lock:
            lock.bind(name)


def test_a_block_where_somebody_listens_is_left_alone() -> None:
    with taken_block() as block:
        pass
    with socket.create_server((block.component(1), 6443)):
        for _ in range(3):
            with taken_block() as other:
                assert other != block


def test_the_parts_of_a_block_do_not_overlap() -> None:
    block = AddressBlock(70)
    free = {block.free(n) for n in range(15_000)}
    assert len(free) == 15_000
    assert all(1 <= int(address.split(".")[2]) <= 60 for address in free)
    assert block.fake_pods == "127.70.64.0/18"
    assert {block.runner_pod(n) for n in range(254)}.isdisjoint(free)
    assert block.component(1) == "127.70.0.1"


def test_an_address_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidInput, match="15000"):
        AddressBlock(70).free(15_000)
