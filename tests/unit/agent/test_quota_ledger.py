"""What an agent that was killed leaves to the next one in its pod."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from meltguard.agent.quota_ledger import LEAST_BYTES, QuotaLedger
from meltguard.agent.quota_store import AccountKey, Ending, Settlement

ANN = AccountKey(policy="serving/image-gen", tier="free", user="ann")


def reserved(request: str, images: int = 1, attempt: str = "") -> Settlement:
    return Settlement(account=ANN, span="today", request=request, images=images, ending=Ending.RELEASE, attempt=attempt)


def spent(request: str, images: int = 1) -> Settlement:
    return replace(reserved(request, images), ending=Ending.COMMIT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json.reservations"


LEFT: dict[str, tuple[Callable[[QuotaLedger], None], tuple[Settlement, ...]]] = {
    "nothing": (lambda _: None, ()),
    "made": (lambda ledger: ledger.made(reserved("a", 3)), (reserved("a", 3),)),
    "delivered": (lambda ledger: [ledger.made(reserved("a", 3)), ledger.delivers(spent("a", 2))], (spent("a", 2),)),
    "of another": (lambda ledger: ledger.delivers(spent("b")), ()),
    "told": (lambda ledger: [ledger.made(reserved("a")), ledger.told(spent("a"))], ()),
    "two, one told": (
        lambda ledger: [ledger.made(reserved("a")), ledger.made(reserved("b")), ledger.told(reserved("a"))],
        (reserved("a"), reserved("b")),  # to tell again is safe, and to write it down each time is not worth it
    ),
    "two attempts": (
        lambda ledger: [ledger.made(reserved("a", attempt="1")), ledger.made(reserved("a", attempt="2"))],
        (reserved("a", attempt="1"), reserved("a", attempt="2")),
    ),
}


@pytest.mark.parametrize(("what", "left"), LEFT.values(), ids=LEFT)
def test_the_next_agent_finds_what_was_under_way(
    path: Path, what: Callable[[QuotaLedger], None], left: tuple[Settlement, ...]
) -> None:
    ledger = QuotaLedger(path)
    what(ledger)
    ledger.close()  # as a kill does
    following = QuotaLedger(path)
    assert following.left_behind == left
    following.close()
    assert QuotaLedger(path).left_behind == left, "until the store was told"


def test_nobody_settles_what_another_process_has_under_way(path: Path) -> None:
    first = QuotaLedger(path)
    first.made(reserved("a"))
    second = QuotaLedger(path)
    assert second.left_behind == ()
    second.made(reserved("b"))
    first.close()
    assert QuotaLedger(path).left_behind == (reserved("a"),)


def test_a_line_that_was_cut_off_spoils_no_other(path: Path) -> None:
    ledger = QuotaLedger(path)
    ledger.made(reserved("a"))
    with path.open("ab") as file:
        file.write(b'\n{"account":{"pol')
    ledger.made(reserved("b"))
    ledger.close()
    assert QuotaLedger(path).left_behind == (reserved("a"), reserved("b"))


def test_the_file_does_not_grow_with_what_is_over(path: Path) -> None:
    ledger = QuotaLedger(path)
    ledger.made(reserved("stays"))
    for number in range(2_000):
        ledger.made(reserved(f"r{number}"))
        ledger.delivers(spent(f"r{number}"))
        ledger.told(spent(f"r{number}"))
        assert path.stat().st_size <= LEAST_BYTES + 1_000
    ledger.told(reserved("stays"))
    assert path.stat().st_size == 0


def test_without_a_place_to_write_nothing_is_kept(tmp_path: Path) -> None:
    for ledger in (QuotaLedger(None), QuotaLedger(tmp_path / "nowhere" / "file")):
        ledger.made(reserved("a"))
        ledger.delivers(spent("a"))
        ledger.told(spent("a"))
        ledger.close()
        assert ledger.left_behind == ()
