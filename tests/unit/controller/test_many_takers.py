"""Several policies over several lenders, whatever comes: surges, ebbs, recalls, broken nodes, crashes, lost answers.

Every pass is the real one: decide() with what the board says of the others, the arbiter, the mover, the books.
"""

import asyncio
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from meltguard.controller.books import read_books
from meltguard.core.fleet import HOMEWARD, NodeView
from meltguard.core.ledger import PastLoan
from meltguard.core.pools import loans_of
from meltguard.core.rest import LONGEST_REST, REST, SHORTEST_REST
from meltguard.core.sharing import BETWEEN, WAITS
from meltguard.core.units import Instant, NodeName, PoolName, Seconds
from meltguard.core.wording import counted
from support.rival_world import LENDABLE, PACE, RivalWorld, Service, a_rival
from support.takers import LENDERS

RIVALS = (a_rival("first", priority=3), a_rival("light"), a_rival("heavy", weight=2))
UIDS = [policy.uid for policy in RIVALS]

HOUR = 3600.0
MOST_MOVES = 20
"""Of one node in an hour, by whatever comes."""

QUIET = WAITS + BETWEEN + 2.0 * REST
"""Where nothing moved for so long, nothing will."""


async def after(world: RivalWorld, seconds: float, **wants: int) -> dict[str, int]:
    """Who has how many nodes when these services have wanted so many GPUs for so long."""
    for name, gpus in wants.items():
        world.services[f"{name}-uid"].wants = gpus
    for _ in range(int(seconds / PACE)):
        await world.go_on()
    return world.shares()


def said(world: RivalWorld, name: str, rule: str) -> list[str]:
    """What a service's last decision says of a rule that does not hold."""
    last = world.services[f"{name}-uid"].last
    assert last is not None
    return [one.text for one in last.rules if one.rule == rule and not one.holds]


async def test_who_comes_late_is_given_one_after_the_other_until_it_has_its_share() -> None:
    world = RivalWorld.of(a_rival("light"), a_rival("heavy", weight=2))
    light = world.services["light-uid"]
    assert await after(world, 60.0, light=8) == {"light": 6, "heavy": 0}
    assert await after(world, WAITS, heavy=8) == {"light": 6, "heavy": 0}
    given: dict[NodeName, Instant] = {}
    for _ in range(200):
        await world.go_on()
        if light.memory.yielded is not None:
            given[light.memory.yielded[0]] = light.memory.yielded[1]
    assert world.shares() == {"light": 2, "heavy": 4}
    times = list(given.values())
    assert len(times) == 4
    assert all(later - one >= BETWEEN for one, later in pairwise(times))
    past = [loan for one in world.ground.resources.lent for loan in read_books(one.status).recent]
    whys = [loan.why for loan in sorted(past, key=_until)]
    assert len(whys) == 4
    for count, why in enumerate(whys):
        has = counted(count, "GPU")
        assert f"and has {has} on loan for a weight of 2, serving/light has {6 - count} for 1" in why
    assert all(why.startswith("serving/heavy waits for a node of pool ") for why in whys)


def _until(loan: PastLoan) -> Instant:
    return loan.until


async def test_what_is_another_s_share_is_left_for_it_and_the_rule_says_so() -> None:
    world = RivalWorld.of(a_rival("light"), a_rival("heavy", weight=2))
    told: list[str] = []
    for _ in range(40):
        await after(world, PACE, light=8, heavy=8)
        told += said(world, "light", "others have their share")
    assert "what pool research can lend goes to serving/heavy first, by priority and weight" in told
    assert world.shares() == {"light": 2, "heavy": 4}


async def test_a_lender_that_called_its_nodes_back_is_left_alone_by_both() -> None:
    world = RivalWorld.of(a_rival("light"), a_rival("heavy", weight=2))
    await after(world, 300.0, light=8, heavy=8)
    world.recall(PoolName("research"))
    world.recall(PoolName("lab"))
    assert await after(world, SHORTEST_REST - PACE) == {"light": 0, "heavy": 0}
    assert said(world, "light", "lender has rested")
    assert await after(world, 300.0) == {"light": 2, "heavy": 4}


async def test_priority_times_need_comes_before_weight() -> None:
    world = RivalWorld.of(a_rival("first", priority=10), a_rival("heavy", weight=2))
    assert await after(world, 60.0, heavy=8) == {"first": 0, "heavy": 6}
    assert await after(world, 900.0, first=3) == {"first": 3, "heavy": 3}
    assert await after(world, 300.0, first=0) == {"first": 0, "heavy": 6}


class ManyTakers(RuleBasedStateMachine):
    """Judged from outside: by the nodes, and by what was asked of them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = RivalWorld.of(*RIVALS)
        self.takers: dict[NodeName, str] = {}
        self.came_home: dict[NodeName, Instant] = {}
        self.begun: dict[NodeName, list[Instant]] = defaultdict(list)
        self.recalled: dict[tuple[str, PoolName], tuple[Instant, int]] = {}
        self.moved_at = self.now

    @property
    def now(self) -> Instant:
        """By the one clock."""
        return self.world.ground.clock.now()

    @rule(uid=st.sampled_from(UIDS), gpus=st.integers(1, 8))
    def surge(self, uid: str, gpus: int) -> None:
        """A service wants so many GPUs beyond its own."""
        self.world.services[uid].wants = gpus
        self._pass_for(20.0)

    @rule(uid=st.sampled_from(UIDS))
    def ebb(self, uid: str) -> None:
        """A service wants nothing any more."""
        self.world.services[uid].wants = 0
        self._pass_for(60.0)

    @rule(lender=st.sampled_from(LENDERS))
    def recall(self, lender: PoolName) -> None:
        """A lender wants its nodes back, and is to be left alone for a while by those who had them."""
        for uid in UIDS:
            out = [node for node in loans_of(uid, self.world.nodes) if _is_out(node, lender)]
            if out:
                _, times = self.recalled.get((uid, lender), (self.now, 0))
                self.recalled[uid, lender] = (self.now, times + 1)
        self.world.recall(lender)
        self._pass_for(60.0)

    @rule(number=st.integers(0, 9))
    def break_a_node(self, number: int) -> None:
        """It is NotReady for long enough that its pool's floor may call others home, and then it is well again."""
        node = sorted(self.world.nodes, key=_by_name)[number]
        self.world.ground.fleet.put(replace(node, ready=False))
        self._pass_for(90.0)
        found = self.world.ground.fleet.nodes[node.name]
        self.world.ground.fleet.put(replace(found, ready=True))

    @rule()
    def crash(self) -> None:
        """Another holder begins; of the last one's memory it has what stood in statuses."""
        self.world.crash()

    @rule(after=st.integers(1, 3), when=st.sampled_from(("before", "after")))
    def lose_an_answer(self, after: int, when: str) -> None:
        """One write soon breaks, before or after it was taken."""
        line = self.world.ground.line
        line.breaks_at, line.after = line.breaks_at | {line.writes + after}, when == "after"

    @rule(seconds=st.sampled_from((5.0, 20.0, 70.0, 200.0)))
    def time_goes_on(self, seconds: float) -> None:
        """Every service decides, and the mover has its pass, every five seconds."""
        self._pass_for(seconds)

    def teardown(self) -> None:
        """However it stands: it settles, with shares as declared; and again where then all want everything."""
        self.world.ground.line.breaks_at = frozenset()
        if self.recalled:
            self.world.ground.clock.advance(LONGEST_REST)
        self._settle()
        for service in self.world.services.values():
            service.wants = 8
        self._settle()

    def _settle(self) -> None:
        began = self.moved_at = self.now
        self.world.pace = Seconds(2.0 * PACE)
        while self.now - self.moved_at < QUIET:
            assert self.now - began < 2.0 * HOUR, "nodes go round and round"
            self._pass_for(6.0 * self.world.pace)
        self._shares_are_as_declared()

    def _pass_for(self, seconds: float) -> None:
        asyncio.run(self._passes(int(seconds / self.world.pace)))

    async def _passes(self, count: int) -> None:
        for _ in range(count):
            await self.world.go_on()
            self._watch()

    def _watch(self) -> None:
        now = self.now
        claims = {node.name: node.claim for node in self.world.nodes if node.claim}
        for name, claim in claims.items():
            taker = self.takers.get(name)
            assert taker in {None, claim.policy_uid}, f"{name} has two takers: {taker}, {claim.policy_uid}"
            if taker is None:
                self._may_begin(name, claim.policy_uid, claim.home, claim.since)
        for name in self.takers.keys() - claims.keys():
            self.came_home[name] = now
        if self.takers.keys() != claims.keys():
            self.moved_at = now
        self.takers = {name: claim.policy_uid for name, claim in claims.items()}
        for uid, service in self.world.services.items():
            assert self.world.held(uid) <= 8, f"{service.policy.name} has more than it ever wanted"

    def _may_begin(self, name: NodeName, uid: str, home: PoolName, since: Instant) -> None:
        lender, back = self.world.pools[home], self.came_home.get(name)
        assert len(lender.at_home) >= lender.floor, f"{home} has {len(lender.at_home)} of {lender.floor}"
        assert back is None or since - back >= REST - self.world.pace, (
            f"{name} rested {since - (back or 0.0):.0f} s only"
        )
        self.begun[name].append(since)
        lately = sum(since - at < HOUR for at in self.begun[name])
        assert lately <= MOST_MOVES, f"{name} was moved {lately} times within an hour"
        if (uid, home) in self.recalled:
            at, times = self.recalled[uid, home]
            rest = min(LONGEST_REST, SHORTEST_REST * 2.0 ** (times - 1))
            assert since - at >= rest, f"{home} was asked {since - at:.0f} s after recall {times}"

    def _shares_are_as_declared(self) -> None:
        services = self.world.services
        short = [one for uid, one in services.items() if one.wants > self.world.held(uid)]
        held = sum(self.world.held(uid) for uid in services)
        assert not short or held == LENDABLE, f"a node is idle while it is wanted: {self.world.shares()}"
        for poor in short:
            for rich in services.values():
                if rich is not poor and rich.policy.capacity and self._is_of_one_rank(rich, poor):
                    assert self._fill(rich, -1) < self._fill(poor, +1), f"{self.world.shares()}"

    def _is_of_one_rank(self, one: Service, other: Service) -> bool:
        assert one.policy.capacity is not None
        assert other.policy.capacity is not None
        return one.policy.capacity.priority == other.policy.capacity.priority

    def _fill(self, service: Service, more: int) -> float:
        assert service.policy.capacity is not None
        return (self.world.held(service.policy.uid) + more) / service.policy.capacity.weight


def _is_out(node: NodeView, lender: PoolName) -> bool:
    return node.claim is not None and node.claim.home == lender and node.claim.step not in HOMEWARD


def _by_name(node: NodeView) -> NodeName:
    return node.name


ManyTakers.TestCase.settings = settings(max_examples=100, stateful_step_count=12, deadline=None)
TestManyTakers: Any = ManyTakers.TestCase
