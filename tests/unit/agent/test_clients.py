from collections import Counter
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from meltguard.agent.clients import HeldBytes, Trouble

MOST = 100


class Ground:
    """Holdings by name, and who gave way."""

    def __init__(self) -> None:
        self.troubles: Counter[Trouble] = Counter()
        self.held = HeldBytes(MOST, self.troubles)
        self.gone: list[str] = []

    def gives_up(self, name: str) -> Callable[[], None]:
        """What it does when it must."""
        return lambda: self.gone.append(name)

    def body(self, name: str, kept: int) -> None:
        """A body that still comes."""
        self.held.unfinished(name, kept, Trouble.BODIES, self.gives_up(name))

    def answer(self, name: str, kept: int) -> None:
        """An answer that is not read."""
        self.held.unfinished(name, kept, Trouble.ANSWERS, self.gives_up(name))

    def whole(self, name: str, kept: int) -> None:
        """A body that is there."""
        self.held.whole(name, kept, self.gives_up(name))


def test_of_unfinished_bodies_the_oldest_gives_way_beyond_their_share() -> None:
    ground = Ground()
    for name in ("a", "b", "c"):
        ground.body(name, 8)
    assert (ground.gone, ground.held.kept) == (["a"], 16)
    ground.body("b", 10)
    assert ground.gone == ["a"]
    assert ground.troubles == {Trouble.BODIES: 1}


def test_a_whole_body_takes_the_place_of_slow_ones() -> None:
    ground = Ground()
    ground.body("slow", 15)
    ground.answer("unread", 40)
    ground.whole("honest", 50)
    assert (ground.gone, ground.held.kept) == (["slow"], 90)
    ground.whole("another", 50)
    assert (ground.gone, ground.held.kept) == (["slow", "unread"], 100)


def test_where_only_whole_bodies_are_kept_the_new_one_goes() -> None:
    ground = Ground()
    ground.whole("first", 70)
    ground.whole("second", 40)
    assert (ground.gone, ground.held.kept) == (["second"], 70)


def test_what_was_let_go_is_no_longer_counted() -> None:
    ground = Ground()
    ground.body("a", 15)
    ground.held.let_go("a")
    ground.held.let_go("a")
    ground.body("b", 15)
    assert (ground.gone, ground.held.kept) == ([], 15)


@given(st.lists(st.tuples(st.sampled_from("bawx"), st.sampled_from("abcdef"), st.integers(1, 200))))
def test_never_more_is_kept_than_the_bound(steps: list[tuple[str, str, int]]) -> None:
    ground = Ground()
    kept: dict[str, int] = {}
    for kind, name, size in steps:
        if kind == "x":
            ground.held.let_go(name)
            kept.pop(name, None)
        else:
            kept[name] = size
            {"b": ground.body, "a": ground.answer, "w": ground.whole}[kind](name, size)
        for gone in ground.gone:
            kept.pop(gone, None)
        ground.gone.clear()
        assert ground.held.kept == sum(kept.values()) <= MOST
