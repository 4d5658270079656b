"""A lender's books: every move once, however often it is written down."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.fleet import Claim, Drain, Guards, NodeView
from meltguard.core.harm import survey
from meltguard.core.ledger import FRESH, HALF_LIFE, KEPT, MOST_KEPT, Books, burden, closed, ended, lent_lately
from meltguard.core.moves import new_claim
from meltguard.core.pools import PoolView
from meltguard.core.units import GpuHours, Gpus, Instant, NodeName, PoolName
from meltguard.core.victims import Choice, Need, Place, choose_nodes
from support.core_values import a_node, a_pod, a_pool
from support.drain_world import EVICTION

NOW = Instant(10_000.0)


def a_claim(**changes: object) -> Claim:
    drain = Drain(eviction=EVICTION, deadline=NOW, work_lost=GpuHours(3.0), victims=("Job lab/train",))
    pools = (a_pool(), a_pool("inference"))
    claim = new_claim(a_node(), ("serving/image-gen", "uid"), pools, (Instant(0.0), NOW), drain)
    return replace(claim, why="calm", **changes)  # type: ignore[arg-type]


def test_a_loan_counts_its_gpus_from_its_opening() -> None:
    loan = ended(a_node(), a_claim(lent_at=Instant(NOW - 1800.0)), NOW)
    assert loan.gpu_hours == 4.0
    assert loan.work_lost == 0.0


def test_work_is_lost_only_where_a_drain_began() -> None:
    claim = a_claim()
    assert claim.drain is not None
    begun = replace(claim, drain=replace(claim.drain, began=NOW))
    assert ended(a_node(), begun, NOW).work_lost == 3.0
    assert ended(a_node(), begun, NOW).gpu_hours == 0.0


@given(st.lists(st.integers(0, 30), max_size=60))
def test_a_move_counts_once_as_long_as_it_is_remembered(moves: list[int]) -> None:
    books, counted = Books(), 0
    for move in moves:
        known = {past.move_id for past in books.recent}
        loan = replace(ended(a_node(), a_claim(lent_at=Instant(NOW - 3600.0)), NOW), move_id=str(move))
        books = closed(books, loan, opened=True)
        counted += str(move) not in known
        assert closed(books, loan, opened=True) == books
    assert books.loans == counted
    assert books.gpu_hours == 8.0 * counted
    assert len(books.recent) <= MOST_KEPT


def test_what_ended_lately_is_remembered_whatever_came_after_it() -> None:
    """Forty nodes go home at once; the release of the first fails, and is tried again when all others are booked."""
    loans = [replace(ended(a_node(), a_claim(), Instant(NOW + n)), move_id=f"m{n}") for n in range(40)]
    books = Books()
    for loan in loans:
        books = closed(books, loan, opened=True)
    assert closed(books, loans[0], opened=True) == books


def test_what_ended_long_ago_makes_room() -> None:
    books = Books()
    for number in range(40):
        loan = replace(ended(a_node(), a_claim(), Instant(NOW + number * FRESH)), move_id=f"m{number}")
        books = closed(books, loan, opened=True)
    assert [past.move_id for past in books.recent] == [f"m{number}" for number in range(40 - KEPT, 40)]
    assert books.loans == 40


def a_lender(*nodes: NodeView) -> PoolView:
    return PoolView(pool=a_pool(), members=nodes, contested=())


def test_what_was_lent_is_forgotten_by_half_a_day() -> None:
    loan = ended(a_node(), a_claim(lent_at=Instant(NOW - 3600.0)), NOW)
    books = closed(Books(), loan, opened=True)
    assert lent_lately(books, NOW) == 8.0
    assert lent_lately(books, Instant(NOW + HALF_LIFE)) == 4.0
    again = replace(loan, move_id="again", until=Instant(NOW + HALF_LIFE))
    assert lent_lately(closed(books, again, opened=True), again.until) == 12.0


def test_a_loan_that_goes_on_counts_from_its_first_minute() -> None:
    home, away = a_node("a"), replace(a_node("b"), claim=replace(a_claim(), since=Instant(NOW - 60.0)))
    assert burden(a_lender(home, away), GpuHours(0.0), NOW) == 0.5
    long_away = replace(away, claim=replace(a_claim(), since=Instant(NOW - 4 * 3600.0)))
    assert burden(a_lender(home, long_away), GpuHours(8.0), NOW) == 2.5


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(60, 7200)), min_size=1, max_size=60))
def test_over_time_no_lender_bears_more_than_one_loan_beyond_another(surges: list[tuple[int, int]]) -> None:
    """Whoever bore least lends; however surges come, the burdens stay within one loan of each other."""
    names = ("small", "middle", "large")
    sizes = dict(zip(names, (8, 16, 64), strict=True))
    books, now = dict.fromkeys(names, Books()), NOW
    for number, (gpus, seconds) in enumerate(surges):
        owned = {name: a_lender(a_node(gpus=Gpus(sizes[name]))) for name in names}
        bears = {name: burden(owned[name], lent_lately(books[name], now), now) for name in names}
        taken = min(names, key=lambda name: (bears[name], name))
        claim = a_claim(lent_at=now)
        now = Instant(now + seconds)
        loan = replace(ended(a_node(gpus=Gpus(gpus)), claim, now), move_id=str(number))
        books[taken] = closed(books[taken], loan, opened=True)
    after = {
        name: burden(a_lender(a_node(gpus=Gpus(sizes[name]))), lent_lately(books[name], now), now) for name in names
    }
    assert max(after.values()) - min(after.values()) <= 2.0  # 8 GPUs for two hours, on the smallest lender of 8


def _taken(choice: Choice) -> list[str]:
    return [node.name for node in choice.nodes]


def test_of_lenders_alike_in_harm_each_gives_in_proportion_to_its_size() -> None:
    """Lenders of one and of two thirds of the GPUs; nothing was lent before."""
    nodes = [a_node(f"{pool}{number}") for pool, size in (("x", 3), ("y", 6)) for number in range(size)]
    places = [
        Place(
            node=node,
            worth=node.gpus,
            home=PoolName(node.name[0]),
            turn="xy".index(node.name[0]),
            eviction=None,
            burden_per_gpu={"x": 1 / 24, "y": 1 / 48}[node.name[0]],
        )
        for node in nodes
    ]
    need = Need(missing=Gpus(24), room=9, rooms={PoolName("x"): 9, PoolName("y"): 9}, priority=0)
    taken = _taken(choose_nodes(places, need, survey(nodes, Guards(), NOW)))
    assert sorted(name[0] for name in taken) == ["x", "y", "y"]


def test_fairness_never_breaks_work_off() -> None:
    """The burdened lender's idle node comes before work of the one that never lent."""
    burdened, never = a_node("a"), a_node("b", pods=(a_pod(node=NodeName("b"), started_at=Instant(NOW - 360.0)),))
    places = [
        Place(node=burdened, worth=8, home=PoolName("x"), turn=0, eviction=EVICTION, burden=90.0),
        Place(node=never, worth=8, home=PoolName("y"), turn=1, eviction=EVICTION),
    ]
    need = Need(missing=Gpus(8), room=9, rooms={PoolName("x"): 9, PoolName("y"): 9}, priority=0)
    assert _taken(choose_nodes(places, need, survey([burdened, never], Guards(), NOW))) == ["a"]
