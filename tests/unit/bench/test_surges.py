"""The benchmark's surges, recorded ones too: each is borrowed for as soon as GPUs are missing; no agent is doubted."""

from dataclasses import dataclass, field, replace

import pytest

from bench.law_cases import Case, cases
from meltguard.agent.rehearsed import RehearsedDoor
from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.load import PodLoad, Told
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy, Signal, SignalKind, SignalUse
from meltguard.core.pools import assign
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, Seconds, Units, UnitsPerSecond
from meltguard.sim.recorded import traces_beside_checkout
from meltguard.sim.world import DAWN, TICK, World
from support.core_values import a_node, a_policy, a_pool

USED = Signal(name="use", kind=SignalKind.GPU_UTILIZATION, use=SignalUse.CONFIRM, calm=50, target=80, critical=100)
CASES = {case.name: case for case in cases(traces_beside_checkout())}
AFTER = 200.0
"""Seconds: a crowd that grows slowly hovers about the limit for so long."""


@dataclass
class Watched:
    """The unchanged law beside a lender with idle nodes; what it would borrow is written down, and does not come."""

    policy: Policy
    lies: bool = False
    memory: Memory = field(default_factory=Memory)
    missing: list[Seconds] = field(default_factory=list)
    claimed: list[Seconds] = field(default_factory=list)
    doubts: int = 0

    def __call__(self, seen: Snapshot, now: Instant) -> Decision:
        """One pass."""
        pools = assign([a_pool("inference"), a_pool()], [a_node(f"r-{number}") for number in range(9)])
        seen = replace(seen, pools=pools, namespace_labels={"team": "serving"}, loads=self._told(seen))
        decision = decide(self.policy, self.memory, seen, now)
        self.memory, at = decision.memory, Seconds(now - DAWN)
        if decision.shortage is not None and decision.shortage.missing:
            self.missing.append(at)
        if decision.borrow:
            self.claimed.append(at)
        self.doubts += len(decision.doubts)
        return decision

    def _told(self, seen: Snapshot) -> tuple[PodLoad, ...]:
        if not self.lies or not seen.loads:
            return seen.loads
        first, *others = seen.loads
        lie = Told(span=Seconds(6.0), offered=Units(6e5), done=first.told.done, busy=first.told.busy)
        tiers = {name: replace(tier, offered=UnitsPerSecond(1e5)) for name, tier in first.tiers.items()}
        return (replace(first, tiers=tiers, minute=lie), *others)


def watched(case: Case, *, lies: bool = False) -> Watched:
    """What the law did until shortly after more was asked for than the GPUs do."""
    capacity = a_policy().capacity
    assert capacity is not None
    capacity = replace(capacity, units_per_gpu=None, max_loans=8)
    policy = replace(case.policy, signals=(*case.policy.signals, USED), capacity=capacity)
    law = Watched(policy=policy, lies=lies)
    setting = replace(case.setting(1), policy=policy, until=Seconds(exceeded(case) + AFTER))
    World(setting, lambda _: law, RehearsedDoor).run()
    return law


def exceeded(case: Case) -> float:
    return next(at for at in range(int(case.until)) if case.load(Seconds(float(at))) > case.gpus)


@pytest.mark.parametrize("name", ["reference", "step", "flash crowd", "viral"])
def test_a_surge_is_borrowed_for_at_the_second_sample_that_lacks_gpus(name: str) -> None:
    if name in {"flash crowd", "viral"} and traces_beside_checkout() is None:
        pytest.skip("no recorded traces at ../shared/traces beside this checkout")
    law = watched(CASES[name])
    assert law.missing[0] >= exceeded(CASES[name])
    assert law.claimed[0] == law.missing[0] + TICK
    assert law.doubts == 0, "people who come as they come are no lie"


def test_an_agent_that_lies_all_along_neither_brings_a_loan_early_nor_keeps_it_back() -> None:
    case = CASES["reference"]
    law = watched(case, lies=True)
    assert law.doubts > 100
    assert exceeded(case) <= law.missing[0] <= exceeded(case) + 3 * TICK
    assert law.claimed[0] == law.missing[0] + TICK
