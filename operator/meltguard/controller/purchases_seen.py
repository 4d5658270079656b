"""What services see of providers, in the statuses of their pools: what is coming, what could, and what must leave."""

from collections.abc import Iterable, Mapping

from meltguard.api.pool_status import PoolStatus
from meltguard.api.provider_status import ProviderStatus
from meltguard.api.quantities import parse_instant
from meltguard.api.to_core import PoolObject
from meltguard.core.purchases import COMING, Stage
from meltguard.core.seen import NoOffer, RecallOrder
from meltguard.core.units import Gpus, Instant, PoolName
from meltguard.errors import InvalidInput


def ordered_for(policy_uid: str, pools: Iterable[PoolObject]) -> Gpus:
    """GPUs that are on order for a policy."""
    total = 0
    for one in pools:
        if one.pool.scaling is not None and one.status.provider is not None:
            mine = (n for n in one.status.provider.nodes if n.policy_uid == policy_uid and n.stage in COMING)
            total += sum(one.pool.scaling.gpus_per_node for _ in mine)
    return Gpus(total)


def on_offer(pools: Iterable[PoolObject]) -> Mapping[PoolName, int]:
    """Nodes that each provider would sell now, as last written."""
    return {one.pool.name: one.status.provider.available for one in pools if one.status.provider is not None}


def no_offer(pools: Iterable[PoolObject], now: Instant) -> Mapping[PoolName, NoOffer]:
    """The providers that would sell nothing now, as last written."""
    found: dict[PoolName, NoOffer] = {}
    for one in pools:
        provider = one.status.provider
        if provider is not None and provider.available == 0:
            until = _rests_until(provider, now)
            found[one.pool.name] = NoOffer(why=provider.why or "nothing is on offer", until=until)
    return found


def _rests_until(provider: ProviderStatus, now: Instant) -> Instant | None:
    try:
        until = None if provider.rest_until is None else parse_instant(provider.rest_until)
    except InvalidInput:
        return None  # who orders says so in the pool's conditions
    return until if until is not None and until > now else None


def recalls_of(pools: Iterable[PoolObject], now: Instant) -> Mapping[PoolName, RecallOrder]:
    """A person's word for each pool; where there is none, the spend caps': a node that is not paid any more."""
    orders: dict[PoolName, RecallOrder] = {}
    for one in pools:
        order = one.recall or _unpaid(one.status, now)
        if order is not None:
            orders[one.pool.name] = order
    return orders


def _unpaid(status: PoolStatus, now: Instant) -> RecallOrder | None:
    bought = status.provider.nodes if status.provider is not None else ()
    nodes = frozenset(one.node for one in bought if one.expiring and one.node and one.stage is Stage.HERE)
    reason = "its next hour does not fit under its provider's spend caps"
    return RecallOrder(nodes=nodes, before=now, reason=reason) if nodes else None


def has_bought(status: PoolStatus) -> bool:
    """Whether anything that was ordered is not gone yet."""
    return status.provider is not None and bool(status.provider.nodes)
