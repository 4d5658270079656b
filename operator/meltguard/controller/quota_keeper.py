"""Keeps Kueue truthful: GPUs on loan are out of their lender's quota, so that nobody is admitted onto them.

Level-triggered, beside the moves and never in their way: what was done stands in the mark on the ClusterQueue alone.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from meltguard.controller.asked import CustomResources
from meltguard.controller.lost_claims import LostClaims
from meltguard.core.fleet import NodeView
from meltguard.core.lent_quota import Quota, followed, on_loan
from meltguard.core.loan_rules import FLEET_FRESH
from meltguard.core.policy import Pool
from meltguard.core.quota_ref import QuotaRef
from meltguard.core.units import NodeName, PoolName, Seconds
from meltguard.errors import Conflict, InvalidInput, Unavailable
from meltguard.ports import Clock, ClusterQueues, Fleet

log = logging.getLogger(__name__)

LOOK_EVERY = Seconds(10.0)
"""How often the numbers are read where no loan began or ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaWord:
    """What is to be said of one number."""

    holds: bool
    reason: str
    text: str


NOT_LOOKED = QuotaWord(holds=False, reason="NotLooked", text="its ClusterQueue was not looked at yet")
UNKNOWN = "QuotaUnknown"
"""Reason while the number could not be read or written: whether it is right is not known."""


@dataclass(slots=True)
class LentQuotas:
    """Brings numbers to what they must be, and remembers what to say of them."""

    queues: ClusterQueues
    words: dict[QuotaRef, QuotaWord] = field(default_factory=dict)
    known: set[str] = field(
        default_factory=set
    )  # ClusterQueues that we may change, or a pool named: one may be named no more
    noted: dict[QuotaRef, Mapping[NodeName, int]] = field(default_factory=dict)

    async def follow(self, pools: Sequence[Pool], nodes: Sequence[NodeView]) -> bool:
        """Take what is lent out of the numbers that pools name, put back what is home; whether nothing came between.

        Raises:
            Fenced: another leader is at work.
        """
        homes = homes_of(pools)
        self.known |= {ref.cluster_queue for ref in homes}
        for ref in await self._left_over(homes):
            homes[ref] = ()
        steady = True
        for ref, lenders in homes.items():
            try:
                self.words[ref] = await self._one(ref, lenders, nodes)
            except Conflict as exc:
                steady = False
                log.info("quota not written", extra={"quota": ref.key, "why": str(exc)})
            except (InvalidInput, Unavailable) as exc:
                self.words[ref] = _troubled(ref, exc)
        return steady

    async def _left_over(self, homes: Mapping[QuotaRef, object]) -> list[QuotaRef]:
        """Numbers that bear our mark, though no pool names them any more."""
        found: list[QuotaRef] = []
        for queue in sorted(self.known):
            try:
                found += [ref for ref in await self.queues.marked(queue) if ref not in homes]
            except (InvalidInput, Unavailable) as exc:
                log.info("marks not read", extra={"queue": queue, "why": str(exc)})
        return found

    async def _one(self, ref: QuotaRef, lenders: Iterable[PoolName], nodes: Iterable[NodeView]) -> QuotaWord:
        found = await self.queues.read(ref)
        lent = on_loan(ref.resource, lenders, nodes, found.noted)
        wanted = followed(found, lent)
        if wanted != found:
            await self.queues.write(ref, wanted, found)
            log.info("quota written", extra={"quota": ref.key, "was": found.nominal, "is": wanted.nominal})
        self.noted[ref] = wanted.noted
        return _word(ref, wanted, lent)


def homes_of(pools: Iterable[Pool]) -> dict[QuotaRef, tuple[PoolName, ...]]:
    """The numbers that pools name, and which pools do."""
    homes: dict[QuotaRef, tuple[PoolName, ...]] = {}
    for pool in pools:
        if pool.kueue is not None:
            homes[pool.kueue] = (*homes.get(pool.kueue, ()), pool.name)
    return homes


def _word(ref: QuotaRef, quota: Quota, lent: Mapping[NodeName, int]) -> QuotaWord:
    if quota.overwritten and quota.mark is not None:
        text = (
            f"somebody else set {ref.key} of ClusterQueue {ref.cluster_queue} to {quota.nominal}, we had set "
            f"{quota.mark.wrote}: it is left alone until nothing is lent. Keep others off nominalQuota (GitOps: ignore "
            "the field), set it to what it is without loans, and take the annotation meltguard.io/lent-quota off"
        )
        return QuotaWord(holds=False, reason="OverwrittenByOthers", text=text)
    missing = sorted(name for name, gpus in lent.items() if not gpus)
    if missing:
        text = f"lent nodes show no {ref.resource}: {', '.join(missing[:5])}; correct spec.kueue.resource"
        return QuotaWord(holds=False, reason="NotOnNodes", text=text)
    taken = quota.mark.taken if quota.mark is not None else 0
    text = f"{ref.key} of ClusterQueue {ref.cluster_queue} is {quota.nominal}, {taken} on loan are out of it"
    return QuotaWord(holds=True, reason="Following", text=text)


def _troubled(ref: QuotaRef, exc: InvalidInput | Unavailable) -> QuotaWord:
    if isinstance(exc, InvalidInput):
        return QuotaWord(holds=False, reason="QuotaUnusable", text=str(exc))
    text = f"{exc}; if rights are missing, name {ref.cluster_queue} in the chart's kueue.clusterQueues"
    return QuotaWord(holds=False, reason=UNKNOWN, text=text)


@dataclass(slots=True)
class QuotaKeeper:
    """The loop's pass: it asks the API server where a loan began or ended, and now and then."""

    quotas: LentQuotas
    resources: CustomResources
    fleet: Fleet
    lost: LostClaims
    clock: Clock
    _seen: object = None
    _looked: Seconds = Seconds(0.0)

    async def run_once(self) -> None:
        """Look whether a number must change. An old view of the nodes changes none."""
        pools = [one.pool for one in self.resources.pools()]
        if not (homes_of(pools) or self.quotas.known):
            return
        view = self.fleet.view()
        if view.age > FLEET_FRESH:
            return
        nodes = self.lost.owed(view.nodes)
        seen, now = self._lent(pools, nodes), self.clock.elapsed()
        if seen == self._seen and now - self._looked < LOOK_EVERY:
            return
        steady = await self.quotas.follow(pools, nodes)
        self._seen, self._looked = (seen if steady else None), now

    def is_even(self, pool: PoolName) -> bool:
        """Whether nothing of a pool is left out of a number; one that is not there has nothing to be put back into."""
        found = next((one.pool for one in self.resources.pools() if one.pool.name == pool), None)
        if found is None or found.kueue is None:
            return True
        word = self.quotas.words.get(found.kueue, NOT_LOOKED)
        if word.reason in {NOT_LOOKED.reason, UNKNOWN}:
            return False
        lent = on_loan(found.kueue.resource, (pool,), self.lost.owed(self.fleet.view().nodes), {})
        noted = self.quotas.noted.get(found.kueue, {})
        shared = len(homes_of(one.pool for one in self.resources.pools())[found.kueue]) > 1
        return not lent and (shared or not noted or word.reason == "QuotaUnusable")

    def _lent(self, pools: Sequence[Pool], nodes: Sequence[NodeView]) -> object:
        return {
            ref: on_loan(ref.resource, homes, nodes, self.quotas.noted.get(ref, {}))
            for ref, homes in homes_of(pools).items()
        }
