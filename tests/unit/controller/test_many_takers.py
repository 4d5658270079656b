"""Several policies over several lenders, whatever comes: surges, ebbs, recalls, crashes, answers that are lost."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meltguard.api.pool_status import PoolStatus
from meltguard.api.to_core import PoolObject
from meltguard.core.loan_rules import REST
from meltguard.core.move_actions import Intent, Wanted
from meltguard.core.pools import assign, loans_of
from meltguard.core.rest import rest_of
from meltguard.core.seen import Recalled
from meltguard.core.units import Gpus, Instant, NodeName, PoolName
from support.core_values import a_node, a_pool
from support.mover_ground import Ground
from support.takers import LENDERS, a_lending_pool, a_taking_policy, a_wish

POLICIES = (a_taking_policy("first", priority=3), a_taking_policy("light"), a_taking_policy("heavy", weight=2))
POOLS = (a_pool("inference"), a_lending_pool("research", 2), a_lending_pool("lab", 1, share=0.5))
HOME = Intent(wanted=Wanted.HOME, why="as the test says")


class ManyTakers(RuleBasedStateMachine):
    """What is on loan, seen from outside: the nodes alone."""

    def __init__(self) -> None:
        super().__init__()
        self.ground, self.epoch = Ground(), 1
        self.ground.fleet.nodes.clear()
        for number in range(5):
            self.ground.fleet.put(a_node(f"r-{number}", gpus=Gpus(1)), a_node(f"l-{number}", "lab", gpus=Gpus(1)))
        self.ground.resources.known |= {policy.uid for policy in POLICIES}
        self.ground.resources.lent = tuple(
            PoolObject(pool=pool, generation=1, deleting=False, status=PoolStatus()) for pool in POOLS
        )
        self.missing = dict.fromkeys((policy.uid for policy in POLICIES), 0)
        self.recalled: dict[str, dict[PoolName, Recalled]] = {policy.uid: {} for policy in POLICIES}
        self.takers: dict[NodeName, str] = {}
        self.came_home: dict[NodeName, Instant] = {}

    @rule(who=st.sampled_from(POLICIES), gpus=st.integers(1, 8))
    def surge(self, who: Any, gpus: int) -> None:
        """A service wants more than it has."""
        self.missing[who.uid] = gpus
        self._passes(3)

    @rule(who=st.sampled_from(POLICIES))
    def ebb(self, who: Any) -> None:
        """A service wants nothing any more, and gives everything back."""
        self.missing[who.uid] = 0
        loans = loans_of(who.uid, list(self.ground.fleet.nodes.values()))
        self.ground.mover.board.intents[who.uid] = {node.name: HOME for node in loans}
        self._passes(10)

    @rule(lender=st.sampled_from(LENDERS))
    def recall(self, lender: PoolName) -> None:
        """A lender wants its nodes back, and is to be left alone for a while by those who had them."""
        now, nodes = self.ground.clock.now(), list(self.ground.fleet.nodes.values())
        for policy in POLICIES:
            mine = [node for node in loans_of(policy.uid, nodes) if node.claim and node.claim.home == lender]
            if mine:
                before = self.recalled[policy.uid].get(lender)
                self.recalled[policy.uid][lender] = Recalled(at=now, times=before.times + 1 if before else 1)
                intents = self.ground.mover.board.intents.get(policy.uid, {})
                self.ground.mover.board.intents[policy.uid] = {**intents, **{node.name: HOME for node in mine}}
        self._passes(10)

    @rule()
    def crash(self) -> None:
        """Another holder begins; of the last one's memory it has what stood in status."""
        rested = self.ground.mover.board.rested
        self.epoch += 1
        self.ground.mover = self.ground.started(self.epoch)
        self.ground.mover.board.remember(rested)

    @rule(after=st.integers(1, 3), when=st.sampled_from(("before", "after")))
    def lose_an_answer(self, after: int, when: str) -> None:
        """One write soon breaks, before or after it was taken."""
        line = self.ground.line
        line.breaks_at, line.after = line.breaks_at | {line.writes + after}, when == "after"

    @rule(seconds=st.sampled_from((1, 2, 5, 20, 70)))
    def time_goes_on(self, seconds: int) -> None:
        """Every service decides, and the mover has its pass, each second."""
        self._passes(seconds)

    def _passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self._decide()
            _run(self.ground.passes(1))
            self._watch()

    def _decide(self) -> None:
        board, nodes = self.ground.mover.board, list(self.ground.fleet.nodes.values())
        now = self.ground.clock.now()
        for policy in POLICIES:
            left = self.missing[policy.uid] - len(loans_of(policy.uid, nodes))
            past = (dict(board.rested), self.recalled[policy.uid])
            if left > 0 and (wish := a_wish(policy, left, (list(POOLS), nodes), now, past)).plan:
                board.wanted[policy.uid] = wish

    def _watch(self) -> None:
        now = self.ground.clock.now()
        claims = {name: node.claim for name, node in self.ground.fleet.nodes.items() if node.claim}
        for name, claim in claims.items():
            taker = self.takers.get(name)
            assert taker in {None, claim.policy_uid}, f"{name} has two takers: {taker}, {claim.policy_uid}"
            if taker is None:
                self._may_begin(name, claim.policy_uid, claim.home, claim.since)
        for name in self.takers.keys() - claims.keys():
            self.came_home[name] = now
        self.takers = {name: claim.policy_uid for name, claim in claims.items()}

    def _may_begin(self, name: NodeName, uid: str, home: PoolName, since: Instant) -> None:
        back = self.came_home.get(name)
        assert back is None or since - back >= REST - 1.0, f"{name} rested {since - (back or 0.0):.0f} s only"
        last = self.recalled[uid].get(home)
        assert last is None or since - last.at >= rest_of(last), f"{home} was asked again too soon"

    @invariant()
    def floors_are_kept(self) -> None:
        """No lender ever has less at home than it keeps."""
        for pool in assign(POOLS, list(self.ground.fleet.nodes.values())).values():
            assert len(pool.at_home) >= pool.floor, f"{pool.pool.name} has {len(pool.at_home)} of {pool.floor}"

    @invariant()
    def nobody_has_more_than_it_ever_wanted(self) -> None:
        """At most the largest surge."""
        for policy in POLICIES:
            assert len(loans_of(policy.uid, list(self.ground.fleet.nodes.values()))) <= 8


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


ManyTakers.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestManyTakers = ManyTakers.TestCase


def test_in_the_long_run_shares_are_as_declared() -> None:
    """Two services of one priority, one with twice the weight, surge at the same time again and again."""
    world = ManyTakers()
    had = dict.fromkeys((policy.uid for policy in POLICIES), 0)
    for _ in range(4):
        world.missing |= dict.fromkeys((policy.uid for policy in POLICIES[1:]), 8)
        world.time_goes_on(20)
        for uid in had:
            had[uid] += len(loans_of(uid, list(world.ground.fleet.nodes.values())))
        for policy in POLICIES[1:]:
            world.ebb(policy)
        world.time_goes_on(80)
    assert had == {"first-uid": 0, "light-uid": 8, "heavy-uid": 12}
