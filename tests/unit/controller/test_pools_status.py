"""What a GPUPool's status says of its loans, its hours and its books."""

from dataclasses import replace

from meltguard.api.pool_status import PoolStatus
from meltguard.api.to_core import PoolObject
from meltguard.clock import rfc3339
from meltguard.controller.books import write_books
from meltguard.controller.pools_status import pool_status
from meltguard.core.fleet import Drain, MoveStep, NodeView
from meltguard.core.ledger import Books, closed, ended
from meltguard.core.moves import new_claim
from meltguard.core.policy import Window, WindowAction
from meltguard.core.pools import assign
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Instant, Seconds
from support.core_values import a_node, a_pool
from support.drain_world import EVICTION

HOUR = 3600.0
NOW = Instant(1_780_000_000.0)
NIGHT = Window(action=WindowAction.DENY, schedule="0 22 * * *", duration=Seconds(8 * HOUR), time_zone="Europe/Zurich")


def a_loan(name: str, hours: float, step: MoveStep = MoveStep.LENT) -> NodeView:
    """Open for so many hours; its evictions cost two GPU-hours."""
    at = (Instant(NOW - hours * HOUR - 60.0), Instant(NOW + HOUR))
    drain = Drain(eviction=EVICTION, deadline=NOW, work_lost=GpuHours(2.0), victims=("Job lab/train",), began=at[0])
    stopped = (Stopped(work="Job lab/train", hours=GpuHours(2.0), saved=Instant(NOW - 2 * HOUR)),)
    drain = replace(drain, stopped=stopped)
    claim = new_claim(a_node(name), ("serving/image-gen", "uid"), (a_pool(), a_pool("inference")), at, drain)
    opened = Instant(NOW - hours * HOUR) if step is MoveStep.LENT else None
    return a_node(name, claim=replace(claim, step=step, lent_at=opened))


def an_object(*windows: Window, status: PoolStatus | None = None, lends: bool = True) -> PoolObject:
    pool = a_pool()
    assert pool.lending is not None
    lending = replace(pool.lending, windows=windows) if lends else None
    return PoolObject(pool=replace(pool, lending=lending), generation=3, deleting=False, status=status or PoolStatus())


def said(one: PoolObject, *nodes: NodeView, at: Instant = NOW) -> PoolStatus:
    home = [a_node(f"home-{number}") for number in range(4)]
    return pool_status(one, assign([one.pool], [*home, *nodes])[one.pool.name], one.status, at)


def test_each_loan_says_what_it_has_cost_so_far_and_when_it_ends() -> None:
    one, other = said(an_object(), a_loan("gpu-5", 2.6), a_loan("gpu-6", 9.0, MoveStep.DRAINING)).loans
    assert (one.gpu_hours, one.work_lost) == ("20", "2")
    assert (other.gpu_hours, other.work_lost) == ("0", "2")
    assert [(work.work, work.hours_lost, work.saved_before) for work in one.stopped] == [
        ("Job lab/train", "2.00", rfc3339(Instant(NOW - 2 * HOUR)))
    ]
    assert one.promised_return == rfc3339(Instant(NOW + HOUR))


def test_what_was_lent_counts_ended_and_open_loans_each_once() -> None:
    """A loan is in the books a moment before its claim comes off."""
    going = a_loan("gpu-5", 1.0)
    assert going.claim is not None
    past = replace(ended(going, going.claim, NOW), move_id="an earlier one")
    books = closed(Books(), past, opened=True)
    assert said(an_object(), going, a_loan("gpu-6", 2.0)).gpu_hours_lent == "24"
    before = an_object(status=PoolStatus(ledger=write_books(books)))
    assert said(before, going, a_loan("gpu-6", 2.0)).gpu_hours_lent == "32"
    booked = closed(books, ended(going, going.claim, NOW), opened=True)
    after = an_object(status=PoolStatus(ledger=write_books(booked)))
    assert said(after, going, a_loan("gpu-6", 2.0)).gpu_hours_lent == "32"
    assert said(after, a_loan("gpu-6", 2.0)).gpu_hours_lent == "32"


def test_the_status_is_not_news_with_every_second() -> None:
    going = a_loan("gpu-5", 2.6)
    later = said(an_object(), going, at=Instant(NOW + 60.0))
    assert later.model_dump(exclude={"conditions"}) == said(an_object(), going).model_dump(exclude={"conditions"})


def test_hours_and_the_next_windows() -> None:
    noon = Instant(1_780_000_000.0 - 1_780_000_000.0 % 86_400.0 + 12 * HOUR)
    status = said(an_object(NIGHT), at=noon)
    assert status.hours is not None
    assert status.hours.startswith("Open: no Deny window is open; until ")
    assert status.hours.endswith("22:00 Europe/Zurich")
    assert len(status.windows) == 3
    assert status.windows[0].opens == rfc3339(Instant(noon + 8 * HOUR))
    night = said(an_object(NIGHT), at=Instant(noon + 9 * HOUR))
    assert night.hours is not None
    assert night.hours.startswith("Closed: window '0 22 * * *' (Europe/Zurich) denies loans; until ")


def test_windows_that_cannot_be_read_close_the_pool_and_name_the_field() -> None:
    status = said(an_object(replace(NIGHT, schedule="0 0 30 2 *")))
    assert status.hours is not None
    assert status.hours.startswith("Closed: its windows cannot be read, so it lends nothing: schedule '0 0 30 2 *'")
    assert status.windows == ()


def test_a_pool_that_lends_nothing_has_no_hours() -> None:
    status = said(an_object(lends=False))
    assert status.hours is None
    assert status.why == "lends nothing: there is no spec.lending"


def test_a_recall_that_cannot_be_read_is_a_condition() -> None:
    broken = replace(an_object(), recall_problem="annotation meltguard.io/recall cannot be read")
    ready = next(one for one in said(broken).conditions if one.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "RecallUnreadable")
