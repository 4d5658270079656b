"""Which nodes to borrow: the rules, then the fewest nodes that cover the shortage."""

import math
from collections.abc import Mapping

from meltguard.core.decision import Borrow, Outcome
from meltguard.core.fleet import MoveStep, NodeView
from meltguard.core.loan_rules import LENDER_RULES, LOAN_RULES, Shortage, resting, unfit
from meltguard.core.pools import PoolView
from meltguard.core.seen import Snapshot
from meltguard.core.units import Gpus, PoolName, UnitsPerSecond

Found = tuple[tuple[Borrow, ...], tuple[Outcome, ...]]
"""What to claim now, and every rule's answer."""


def missing_gpus(demand: UnitsPerSecond, per_gpu: UnitsPerSecond | None, have: Gpus) -> Gpus:
    """GPUs that the offered demand needs beyond those at hand or arriving; 0 while a GPU's rate is not learned.

    >>> missing_gpus(UnitsPerSecond(9.8), UnitsPerSecond(1.0), Gpus(6))
    4
    """
    if not per_gpu:
        return Gpus(0)
    return Gpus(max(0, math.ceil(demand / (0.98 * per_gpu) - 1e-9) - have))


def choose_loans(short: Shortage) -> Found:
    """The nodes to claim now (the fewest that cover the shortage), and every rule's answer."""
    answers = [rule(short) for rule in LOAN_RULES]
    if not all(answer.holds for answer in answers):
        return (), tuple(answers)
    for name in short.capacity.borrow_from:
        lender = short.seen.pools.get(name)
        taken, said = _from_lender(short, lender) if lender is not None else _no_pool(name)
        answers.extend(said)
        if taken:
            return taken, tuple(answers)
    return (), tuple(answers)


def _no_pool(name: PoolName) -> Found:
    text = f"there is no GPUPool {name}; create it or correct borrowFrom"
    return (), (Outcome(rule="pool exists", holds=False, text=text),)


def _from_lender(short: Shortage, lender: PoolView) -> Found:
    answers = [rule(short, lender) for rule in LENDER_RULES]
    if not all(answer.holds for answer in answers):
        return (), tuple(answers)
    fit, refusals = _fitting(short, lender)
    if not fit:
        text = "; ".join(f"{node} {why}" for node, why in list(refusals.items())[:3]) or "it has no nodes"
        return (), (*answers, Outcome(rule="a node fits", holds=False, text=f"pool {lender.pool.name}: {text}"))
    chosen = _smallest_cover(fit, short.missing, _room(short, lender))
    names = ", ".join(node.name for node in chosen)
    found = Outcome(rule="a node fits", holds=True, text=f"{names} of pool {lender.pool.name}, idle")
    to = short.capacity.pool
    return tuple(Borrow(node=n.name, home=lender.pool.name, to=to) for n in chosen), (*answers, found)


def _fitting(short: Shortage, lender: PoolView) -> tuple[list[NodeView], Mapping[str, str]]:
    fit: list[NodeView] = []
    refusals: dict[str, str] = {}
    for node in sorted(lender.members, key=lambda n: (-n.gpus, n.name)):
        why = unfit(node) or resting(short, node)
        if why:
            refusals[node.name] = why
        else:
            fit.append(node)
    return fit, refusals


def _room(short: Shortage, lender: PoolView) -> int:
    lending = lender.pool.lending
    if lending is None:
        return 0
    return min(
        short.capacity.max_loans - len(short.seen.loans),
        lending.max_loans - len(lender.lent),
        len(lender.at_home) - lender.floor,
    )


def _smallest_cover(nodes: list[NodeView], missing: Gpus, room: int) -> list[NodeView]:
    """The fewest nodes whose GPUs cover what is missing; `nodes` come largest first."""
    chosen: list[NodeView] = []
    for node in nodes:
        if len(chosen) >= room or sum(n.gpus for n in chosen) >= missing:
            break
        chosen.append(node)
    return chosen


def arriving_gpus(seen: Snapshot, serving_nodes: frozenset[str]) -> Gpus:
    """GPUs of loans that are on their way out, or lent but not serving yet."""
    outward = {MoveStep.CLAIMED, MoveStep.CORDONED, MoveStep.RELABELLED, MoveStep.LENT}
    return Gpus(sum(n.gpus for n in seen.loans if n.claim and n.claim.step in outward and n.name not in serving_nodes))
