"""Whose the next node is: shares as declared, whoever came first, and never back and forth."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.sharing import BETWEEN, WAITS, Peer, first, gives_way_to, my_room
from meltguard.core.units import Gpus, Instant, PoolName

LENDER = PoolName("research")
NODE = Gpus(8)


def a_taker(key: str, missing: int, held: int = 0, **changes: int) -> Peer:
    fields = {"priority": 1, "weight": 1, **changes}
    return Peer(key=key, held=Gpus(held), missing=Gpus(missing), lenders=frozenset({LENDER}), **fields)  # type: ignore[arg-type]


@dataclass
class Rivals:
    """Services over one lender; each acts on what it hears, one after the other."""

    services: dict[str, Peer]
    room: int
    now: Instant = Instant(0.0)
    given_up: int = 0
    waiting_since: dict[str, Instant] = field(default_factory=dict)

    def round(self, order: list[str]) -> bool:
        """Each takes what is its, and then at most gives one up; whether anything changed."""
        before = (dict(self.services), self.given_up)
        for name in order:
            self._take(name)
        self.now = Instant(self.now + BETWEEN)
        for name in order:
            me = self.services[name]
            if me.held and gives_way_to(me, self._others(name), LENDER, (NODE, self.now)):
                self.services[name] = replace(me, held=Gpus(me.held - NODE), missing=Gpus(me.missing + NODE))
                self.room, self.given_up = self.room + 1, self.given_up + 1
        return (self.services, self.given_up) != before

    def _take(self, name: str) -> None:
        me = self.services[name]
        taken = min(my_room(me, self._others(name), LENDER, (self.room, NODE)), -(-me.missing // NODE))
        self.services[name] = me.with_more(taken * NODE)
        self.room -= taken
        if taken or not self.services[name].missing:
            self.waiting_since.pop(name, None)
        else:
            self.waiting_since.setdefault(name, self.now)

    def _others(self, name: str) -> list[Peer]:
        wanting = [one for other, one in self.services.items() if other != name and one.missing]
        waits = {key: {LENDER: since} for key, since in self.waiting_since.items()}
        return [replace(one, finds_none=waits.get(one.key, {})) for one in wanting]


takers = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 5), st.sampled_from((1, 1, 1, 3))), min_size=2, max_size=5
)


@given(wants=takers, nodes=st.integers(1, 12), data=st.data())
def test_however_they_come_the_shares_settle_and_no_node_goes_round_and_round(
    wants: list[tuple[int, int, int]], nodes: int, data: st.DataObject
) -> None:
    services = {
        f"s{n}": a_taker(f"s{n}", NODE * want, weight=weight, priority=priority)
        for n, (want, weight, priority) in enumerate(wants)
    }
    rivals = Rivals(services=services, room=nodes)
    rounds = 0
    while rivals.round(data.draw(st.permutations(sorted(services)))):
        rounds += 1
        assert rounds < 10 * nodes, "nodes go round and round"
        assert rivals.room >= 0
    ends = list(rivals.services.values())
    assert sum(one.held for one in ends) == NODE * min(nodes, sum(want for want, _, _ in wants)), "idle while wanted"
    for short in (one for one in ends if one.missing):
        for other in (one for one in ends if one.priority == short.priority and one.held):
            assert (other.held - NODE) / other.weight < (short.held + NODE) / short.weight


def test_who_came_later_gets_its_share_of_what_is_free() -> None:
    light, heavy = a_taker("light", 64), a_taker("heavy", 64, weight=2)
    assert my_room(light, [heavy], LENDER, (6, NODE)) == 2
    assert my_room(heavy, [light], LENDER, (6, NODE)) == 4
    assert my_room(light, [], LENDER, (6, NODE)) == 6


def test_what_a_rival_does_not_want_is_not_kept_for_it() -> None:
    light, heavy = a_taker("light", 64), a_taker("heavy", 8, weight=9)
    assert my_room(light, [heavy], LENDER, (6, NODE)) == 5
    elsewhere = replace(heavy, lenders=frozenset({PoolName("lab")}))
    assert my_room(light, [elsewhere], LENDER, (6, NODE)) == 6


def test_the_larger_need_times_priority_comes_first() -> None:
    low, high = a_taker("low", 80), a_taker("high", 16, priority=4)
    assert first([low, high]) is low
    assert first([low, high.with_more(-8)]) is not low


def test_nobody_gives_way_at_once_nor_for_who_has_as_much() -> None:
    rich, poor, now = a_taker("rich", 8, held=32), a_taker("poor", 8), Instant(1000.0)
    early = replace(poor, finds_none={LENDER: Instant(now - WAITS + 1)})
    late = replace(poor, finds_none={LENDER: Instant(now - WAITS)})
    assert gives_way_to(rich, [early], LENDER, (NODE, now)) is None
    assert gives_way_to(rich, [late], LENDER, (NODE, now)) == late
    even = replace(late, held=Gpus(24))
    assert gives_way_to(rich, [even], LENDER, (NODE, now)) is None
    assert gives_way_to(rich, [poor], LENDER, (NODE, now)) is None
