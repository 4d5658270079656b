"""A lender's books in its GPUPool's status."""

import math
from dataclasses import replace

import pytest

from meltguard.api.pool_status import LedgerStatus, PoolStatus
from meltguard.api.to_core import PoolObject
from meltguard.controller.board import Board
from meltguard.controller.books import lately_home, lent_by, read_books, write_books
from meltguard.core.ledger import Books, PastLoan
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Instant, NodeName
from meltguard.errors import InvalidInput
from support.core_values import a_pool

PAST = PastLoan(
    move_id="m1",
    node=NodeName("gpu-5"),
    policy="serving/image-gen",
    since=Instant(1000.0),
    until=Instant(4600.0),
    gpu_hours=GpuHours(8.125),
    work_lost=GpuHours(1.5),
    why="calm",
    stopped=(
        Stopped(work="Job lab/train", hours=GpuHours(1.25), saved=Instant(400.0)),
        Stopped(work="Pod lab/notebook", hours=GpuHours(0.25), saved=None),
    ),
)


def test_what_is_written_is_read() -> None:
    books = Books(loans=3, gpu_hours=GpuHours(20.25), work_lost=GpuHours(1.5), recent=(PAST,), lately=GpuHours(7.5))
    assert read_books(PoolStatus(ledger=write_books(books))) == books


def test_a_rest_is_known_from_the_books_after_a_restart() -> None:
    earlier = replace(PAST, move_id="m0", until=Instant(1200.0))
    lender = PoolStatus(ledger=write_books(Books(loans=2, recent=(earlier, PAST))))
    pools = [PoolObject(pool=a_pool(), generation=1, deleting=False, status=one) for one in (lender, PoolStatus())]
    board = Board(rested={"gpu-5": Instant(1300.0), "gpu-6": Instant(9.0)})
    board.remember(lately_home(pools))
    board.remember({"gpu-6": Instant(7.0), "gpu-7": Instant(8.0)})
    assert board.rested == {"gpu-5": 4600.0, "gpu-6": 9.0, "gpu-7": 8.0}


def test_no_ledger_is_an_empty_one() -> None:
    assert read_books(PoolStatus()) == Books()


@pytest.mark.parametrize("text", ["many", "nan", "inf", ""])
def test_what_is_no_number_is_not_added_to(text: str) -> None:
    ledger = LedgerStatus(loans=1, gpu_hours_lent=text, work_lost="0")
    with pytest.raises(InvalidInput, match="no number of GPU-hours"):
        read_books(PoolStatus(ledger=ledger))


def test_a_lender_whose_books_cannot_be_read_is_asked_last() -> None:
    books = Books(loans=1, recent=(PAST,), lately=GpuHours(7.5))
    unreadable = LedgerStatus(loans=1, gpu_hours_lent="many", work_lost="0")
    lenders = {
        "never": PoolStatus(),
        "once": PoolStatus(ledger=write_books(books)),
        "lost": PoolStatus(ledger=unreadable),
    }
    pools = [
        PoolObject(pool=a_pool(name), generation=1, deleting=False, status=status) for name, status in lenders.items()
    ]
    assert lent_by(pools, PAST.until) == {"never": 0.0, "once": 7.5, "lost": math.inf}
