"""Which loans go home, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.core.decision import SignalPressure
from meltguard.core.fleet import HOMEWARD, Claim, MoveStep, NodeView
from meltguard.core.memory import Memory
from meltguard.core.models import Rates
from meltguard.core.move_actions import Intent, Wanted
from meltguard.core.policy import Level, Mode, Policy
from meltguard.core.pools import PoolView
from meltguard.core.seen import Snapshot
from meltguard.core.sharing import BETWEEN, a_peer, gives_way_to
from meltguard.core.units import Gpus, Instant, NodeName, PoolName, Seconds, UnitsPerSecond
from meltguard.core.waiting import outranking, wants
from meltguard.core.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Ebb:
    """What returns are decided on."""

    policy: Policy
    seen: Snapshot
    signals: tuple[SignalPressure, ...]
    memory: Memory
    level: Level
    limited: bool  # some tier is limited
    demand: UnitsPerSecond | None  # None: the agents do not answer
    capacity: UnitsPerSecond | None  # of what serves and stays; None: not learned
    by_node: Mapping[NodeName, UnitsPerSecond]  # of that
    rates: Rates | None
    missing: Gpus  # that the demand needs beyond what serves
    now: Instant
    breach_since: Mapping[PoolName, Instant]  # a lender stands below its floor since then


BREACH_TIME: Final = Seconds(60.0)
"""A node that is NotReady for a moment recalls nothing; a floor broken for this long does."""


def breach_since(seen: Snapshot, memory: Memory, now: Instant) -> Mapping[PoolName, Instant]:
    """The pools that lent to this policy and have fewer nodes at home than their floor, and since when."""
    homes = sorted({node.claim.home for node in seen.loans if node.claim} & seen.pools.keys())
    broken = [home for home in homes if len(seen.pools[home].at_home) < seen.pools[home].floor]
    return {home: memory.breach_since.get(home, now) for home in broken}


def going_home(seen: Snapshot) -> frozenset[NodeName]:
    """Nodes on which the service's pods serve out what they have."""
    return frozenset(node.name for node in seen.loans if node.claim and node.claim.step in HOMEWARD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """Where each node claimed by this policy is to go, and who asked for the way home."""

    intents: Mapping[NodeName, Intent]
    recalling: frozenset[PoolName]  # lenders that call a node back now, against the borrower's need
    calm: NodeName | None  # the node that goes because the service does without it
    yielded: tuple[NodeName, Instant] | None = None  # the node that goes home for another service, and since when

    @property
    def homeward(self) -> frozenset[NodeName]:
        """Nodes that are wanted home."""
        return frozenset(name for name, intent in self.intents.items() if intent.wanted is not Wanted.OUT)


def returns(ebb: Ebb, spare: Instant | None) -> Returns:
    """Decide it for all of them; `spare` is since when one could have gone."""
    decided = {node.name: _intent(ebb, node.claim) for node in ebb.seen.loans if node.claim}
    out = [node.claim for node in ebb.seen.loans if node.claim and node.claim.step not in HOMEWARD]
    calm = _leaves_calmly(ebb, spare, decided)
    if calm is not None and ebb.policy.capacity is not None:
        lasted = f"{ebb.policy.capacity.return_after:.0f} s"
        why = f"the service stayed calm for {lasted} and would without this node"
        decided[calm] = Intent(wanted=Wanted.HOME, why=why)
    yielded = _given_up(ebb, decided)
    if yielded is not None:
        decided[yielded.node] = Intent(wanted=Wanted.HOME, why=yielded.why)
    return Returns(
        intents=decided,
        recalling=frozenset(claim.home for claim in out if _why_lender_wants_it(ebb, claim)),
        calm=calm,
        yielded=(yielded.node, yielded.since) if yielded else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _GivenUp:
    node: NodeName
    since: Instant
    why: str


def _given_up(ebb: Ebb, decided: Mapping[NodeName, Intent]) -> _GivenUp | None:
    """The youngest loan that another service should rather have; one at a time, asked for until it is on its way."""
    capacity, last = ebb.policy.capacity, ebb.memory.yielded
    if capacity is None or ebb.policy.mode is not Mode.ENFORCE:
        return None
    if any(intent.wanted is not Wanted.OUT for intent in decided.values()):
        return None
    lately = last if last is not None and ebb.now - last[1] < BETWEEN else None
    me = a_peer(ebb.policy.key, capacity, sum(ebb.seen.gpus_of(node) for node in ebb.seen.loans), ebb.missing)
    for node in sorted(ebb.seen.loans, key=_claimed_at, reverse=True):
        if node.claim is None or node.claim.step is not MoveStep.LENT or (lately and lately[0] != node.name):
            continue
        peer = gives_way_to(me, ebb.seen.peers, node.claim.home, (ebb.seen.gpus_of(node), ebb.now))
        if peer is not None:
            why = f"{peer.key} waits for a node of pool {node.claim.home} and has {counted(peer.held, 'GPU')} on loan"
            told = f"{why} for a weight of {peer.weight}, {me.key} has {me.held} for {me.weight}"
            return _GivenUp(node=node.name, since=lately[1] if lately else ebb.now, why=told)
    return None


def _claimed_at(node: NodeView) -> tuple[float, NodeName]:
    return (node.claim.since if node.claim else 0.0, node.name)


def _leaves_calmly(ebb: Ebb, spare: Instant | None, decided: Mapping[NodeName, Intent]) -> NodeName | None:
    """One a window: of the dearest pool, the youngest loan."""
    capacity = ebb.policy.capacity
    lent = [n for n in ebb.seen.loans if n.claim and n.claim.step is MoveStep.LENT]
    staying = [node for node in lent if decided[node.name].wanted is Wanted.OUT]
    if capacity is None or len(staying) <= ebb.seen.plan.least or spare is None:
        return None
    if ebb.now - spare < capacity.return_after:
        return None
    return max(staying, key=lambda node: _cost(ebb.seen, node)).name


def _cost(seen: Snapshot, node: NodeView) -> tuple[float, float]:
    """What a GPU of its home costs for an hour (what is not said costs nothing), then how young the loan is."""
    home = seen.pools.get(node.claim.home) if node.claim else None
    cost = home.pool.cost if home is not None and home.pool.cost is not None else 0.0
    return cost, node.claim.since if node.claim else 0.0


def _intent(ebb: Ebb, claim: Claim) -> Intent:
    why = _why_home(ebb, claim)
    return Intent(wanted=Wanted.HOME, why=why) if why else Intent(wanted=Wanted.OUT, why="")


def _why_home(ebb: Ebb, claim: Claim) -> str:
    capacity = ebb.policy.capacity
    if ebb.policy.mode is Mode.SHADOW:
        return "the policy's mode is Shadow: it holds no node"
    if capacity is None or claim.to != capacity.pool or claim.home not in capacity.borrow_from:
        return f"the policy no longer borrows from pool {claim.home} for pool {claim.to}"
    if claim.to not in ebb.seen.pools:
        return f"there is no GPUPool {claim.to} any more"
    if ebb.policy.mode is Mode.PAUSED and claim.step in {MoveStep.CLAIMED, MoveStep.CORDONED}:
        return "the policy is paused: moves that touched nothing yet are undone"
    return _why_lender_recalls(ebb, claim)


def _why_lender_recalls(ebb: Ebb, claim: Claim) -> str:
    lender = ebb.seen.pools.get(claim.home)
    if lender is None or lender.pool.lending is None:
        return f"pool {claim.home} no longer lends"
    lending = lender.pool.lending
    if not lending.borrower_labels.items() <= ebb.seen.namespace_labels.items():
        return f"pool {claim.home} no longer lends to namespace {ebb.policy.namespace}"
    if ebb.now > claim.due:
        return "its promised return has come"
    return _why_lender_wants_it(ebb, claim)


def _why_lender_wants_it(ebb: Ebb, claim: Claim) -> str:
    """The lender's need, by rank: a person's word, its floor, work of its own that outranks the borrower."""
    lender = ebb.seen.pools.get(claim.home)
    if lender is None:
        return ""
    return _ordered(ebb, claim) or _floor_broken(ebb, lender, claim) or _outranked(ebb, lender, claim)


def _ordered(ebb: Ebb, claim: Claim) -> str:
    order = ebb.seen.recalls.get(claim.home)
    if order is None:
        return ""
    meant = any(order.means(node.name, claim) for node in ebb.seen.loans if node.claim == claim)
    return order.reason if meant else ""


def _floor_broken(ebb: Ebb, lender: PoolView, claim: Claim) -> str:
    """As many as are missing come home, and no more: those on their way count."""
    since = ebb.breach_since.get(claim.home)
    lasts = since is not None and ebb.now - since >= BREACH_TIME
    returning = len(lender.lent) - len(_staying(lender))
    if lasts and len(lender.at_home) + returning < lender.floor and claim == _youngest(_staying(lender)):
        left = counted(len(lender.at_home), "node")
        return f"pool {claim.home} has had {left} for a minute, its floor is {lender.floor}"
    return ""


def _outranked(ebb: Ebb, lender: PoolView, claim: Claim) -> str:
    """Work of higher priority that only lacks this node calls it back; one at a time, it may be all that is needed."""
    staying = _staying(lender)
    pod = outranking(ebb.seen, lender.pool, staying, ebb.now)
    if pod is None or len(staying) < len(lender.lent):
        return ""
    if claim != _youngest([node for node in staying if wants(pod, node, lender.pool)]):
        return ""
    return (
        f"pod {pod.namespace}/{pod.name} of priority {pod.priority} waits for a node of pool {claim.home}, "
        f"the borrower's priority is {ebb.seen.priority}"
    )


def _staying(lender: PoolView) -> list[NodeView]:
    """What is lent and not on its way home."""
    return [node for node in lender.lent if node.claim and node.claim.step not in HOMEWARD]


def _youngest(lent: Sequence[NodeView]) -> Claim | None:
    claims = [node.claim for node in lent if node.claim]
    return max(claims, key=lambda claim: (claim.since, claim.move_id), default=None)
