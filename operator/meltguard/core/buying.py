"""Borrow first or buy first: what is claimed of lenders, and what providers are asked for. Never both for one GPU."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from meltguard.core.calendar_rules import planned_ahead, rules_of
from meltguard.core.decision import Borrow, Outcome, Shortage
from meltguard.core.loan_rules import (
    lender_has_rested,
    lender_has_room,
    lends_to_namespace,
    no_window_denies,
    pool_lends,
    resting,
    room_of,
)
from meltguard.core.loans import choose_loans, may_be_chance, sure_at
from meltguard.core.node_rules import unfit
from meltguard.core.policy import Mode, Source
from meltguard.core.pools import PoolView
from meltguard.core.providers import Want
from meltguard.core.units import Gpus
from meltguard.core.victims import whole_gpus
from meltguard.core.wording import counted

SELLER_RULES: Final[tuple[Callable[[Shortage, PoolView], Outcome], ...]] = (
    pool_lends,  # what is bought joins this pool, and is lent from it
    lends_to_namespace,
    no_window_denies,
    lender_has_rested,  # its spend cap called a node back a moment ago
    lender_has_room,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityChoice:
    """What to claim now, what to have bought, and every rule's answer."""

    taken: tuple[Borrow, ...]
    want: Want | None
    rules: tuple[Outcome, ...]
    shortage: Shortage  # that `taken` was planned from


def choose_capacity(short: Shortage) -> CapacityChoice:
    """Cover the shortage; where the demand gets nothing now, what the calendar asks for, one node at a time."""
    choice = _chosen(short)
    planned = None if choice.taken or choice.want else planned_ahead(short)
    return choice if planned is None else _chosen(planned)


def _chosen(short: Shortage) -> CapacityChoice:
    """In the policy's order; what is bought already is used before anybody is asked."""
    order = short.capacity.order
    if Source.BUY not in order:
        return _loans(short)
    sellers = _sellers(short)
    asked = short if order == (Source.BORROW, Source.BUY) else _without_lenders(short)
    choice = _loans(asked)
    if order == (Source.BUY, Source.BORROW):
        covered = min(_left(asked, choice.taken), _offered(short, sellers))
        choice = _loans(replace(short, missing=Gpus(short.missing - covered))) if covered < short.missing else choice
    want = _want(short, choice, sellers)
    if want is None:
        return choice
    why = may_be_chance(short, "GPUs are bought", "nothing is bought for more")
    if why:  # money is spent for no shortage that may be chance, nor while a busy node waits for that
        rule = "a shortage is bought for"
        waits = Outcome(rule=rule, holds=False, text=why, reason="MayBeChance", until=sure_at(short), way=rule)
        return replace(choice, rules=(*choice.rules, waits))
    return replace(choice, want=want, rules=(*choice.rules, _asked(short, want)))


def _asked(short: Shortage, want: Want) -> Outcome:
    """That providers are asked; where none of them can deliver now, why not, and from when on one may be able to."""
    asked = f"{counted(want.missing, 'GPU more is', 'GPUs more are')} asked of {', '.join(sorted(want.pools))}"
    refused = {name: short.seen.no_offer[name] for name in sorted(want.pools) if name in short.seen.no_offer}
    if len(refused) < len(want.pools):
        return Outcome(rule="providers are asked", holds=True, text=asked)
    text = "; ".join(f"{name}: {one.why}" for name, one in refused.items())
    until = min((one.until for one in refused.values() if one.until is not None), default=None)
    rule = "a provider delivers"
    return Outcome(rule=rule, holds=False, text=text, reason="NothingOnOffer", until=until, way=rule)


def _loans(short: Shortage) -> CapacityChoice:
    taken, rules = choose_loans(short)
    return CapacityChoice(taken=taken, want=None, rules=rules, shortage=short)


def _sellers(short: Shortage) -> tuple[PoolView, ...]:
    found = (short.seen.pools.get(name) for name in short.capacity.borrow_from)
    able = (pool for pool in found if pool is not None and pool.pool.scaling is not None)
    return tuple(pool for pool in able if all(rule(short, pool).holds for rule in SELLER_RULES))


def _without_lenders(short: Shortage) -> Shortage:
    """Only pools that providers make: what stands idle there is paid for."""
    pools = short.seen.pools
    bought = tuple(name for name in short.capacity.borrow_from if name in pools and pools[name].pool.scaling)
    return replace(short, capacity=replace(short.capacity, borrow_from=bought))


def _left(short: Shortage, taken: Iterable[Borrow]) -> Gpus:
    """GPUs such as serve today; nobody knows what a node does that is still to be bought."""
    names = {borrow.node for borrow in taken}
    members = (node for pool in short.seen.pools.values() for node in pool.members)
    return whole_gpus(short.missing - sum(short.worth(node) for node in members if node.name in names))


def _offered(short: Shortage, sellers: Iterable[PoolView]) -> Gpus:
    """GPUs that could be ordered now, as the providers' pools say."""
    on_offer = ((pool, short.seen.on_offer.get(pool.pool.name, 0)) for pool in sellers)
    return Gpus(sum(count * pool.pool.scaling.gpus_per_node for pool, count in on_offer if pool.pool.scaling))


def _want(short: Shortage, choice: CapacityChoice, sellers: tuple[PoolView, ...]) -> Want | None:
    if not sellers or short.policy.mode is not Mode.ENFORCE:
        return None
    if not all(rule.holds for rule in choice.rules[: len(rules_of(short))]):
        return None
    sizes = {pool.pool.name: pool.pool.scaling.gpus_per_node for pool in sellers if pool.pool.scaling}
    coming = -(-short.seen.on_order // min(sizes.values()))
    most = short.capacity.max_loans - len(short.seen.loans) - len(choice.taken) - coming
    missing = whole_gpus(_left(short, choice.taken) - _about_to_rest_no_more(short, sellers))
    if missing <= 0 or most <= 0:
        return None
    return Want(
        policy=short.policy.key,
        policy_uid=short.policy.uid,
        priority=short.capacity.priority,
        missing=missing,
        gpus_per_pod=short.policy.gpus_per_pod,
        pools=frozenset(sizes),
        most=most,
        on_order=short.seen.on_order,
    )


def _about_to_rest_no_more(short: Shortage, sellers: Iterable[PoolView]) -> float:
    """Paid nodes that came home a moment ago: they can be borrowed again before any new one is here."""
    resting_nodes = (
        node
        for pool in sellers
        if room_of(pool) > 0
        for node in pool.members
        if not unfit(node) and resting(short, node)
    )
    return sum(short.worth(node) for node in resting_nodes)
