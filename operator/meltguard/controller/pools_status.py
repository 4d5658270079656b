"""What each GPUPool's status says: what it lends now, to whom, until when, and why no more."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.api.claim import write_claim
from meltguard.api.conditions import Condition, ConditionStatus, with_conditions
from meltguard.api.pool_status import NodeCounts, PoolLoan, PoolStatus, WindowStatus
from meltguard.api.to_core import PoolObject
from meltguard.api.windows import lending_hours, next_spans
from meltguard.clock import rfc3339
from meltguard.controller.asked import CustomResources
from meltguard.controller.books import read_books, write_stopped
from meltguard.controller.lost_claims import LostClaims
from meltguard.controller.provider_books import read_books as read_bought
from meltguard.controller.quota_keeper import NOT_LOOKED, QuotaWord
from meltguard.controller.resources import POOLS
from meltguard.controller.telemetry import Telemetry
from meltguard.core.fleet import Claim, NodeView
from meltguard.core.ledger import ended
from meltguard.core.node_rules import unfit
from meltguard.core.policy import Window
from meltguard.core.pools import PoolView, assign
from meltguard.core.quota_ref import QuotaRef
from meltguard.core.seen import Hours
from meltguard.core.units import Instant
from meltguard.core.victims import in_use
from meltguard.core.wording import counted
from meltguard.errors import InvalidInput
from meltguard.ports import Clock, Fleet

log = logging.getLogger(__name__)


@dataclass(slots=True)
class PoolReporter:
    """Writes a pool's status when it says something new."""

    resources: CustomResources
    fleet: Fleet
    objects: KubernetesObjects
    clock: Clock
    telemetry: Telemetry
    lost: LostClaims
    quotas: Mapping[QuotaRef, QuotaWord] = field(default_factory=dict)  # what the keeper says of each number
    written: dict[str, PoolStatus] = field(default_factory=dict)  # by uid

    async def run_once(self) -> None:
        """Look at every pool."""
        found = self.resources.pools()
        views = assign([one.pool for one in found], self.lost.counted(self.fleet.view().nodes))
        for one in found:
            before = self.written.get(one.pool.uid, one.status)
            status = pool_status(one, views[one.pool.name], before, self.clock.now(), self._quota(one))
            if status == before:
                continue
            try:
                await self.objects.patch_status(f"{POOLS}/{one.pool.name}", _patch_of(status))
            except (Missing, InvalidInput) as exc:  # one pool's trouble is not the next one's
                log.warning("pool status not written", extra={"pool": one.pool.name, "why": str(exc)})
            self.written[one.pool.uid] = status
        self.telemetry.pools({one.pool.name: self._shown(one) for one in found})

    def _quota(self, one: PoolObject) -> QuotaWord | None:
        return self.quotas.get(one.pool.kueue, NOT_LOOKED) if one.pool.kueue is not None else None

    def _shown(self, one: PoolObject) -> PoolStatus:
        """What we last said, with the books as the ledger and the buyer last wrote them."""
        return self.written.get(one.pool.uid, one.status).model_copy(
            update={"ledger": one.status.ledger, "provider": one.status.provider}
        )


def _patch_of(status: PoolStatus) -> dict[str, Any]:
    """All that is ours to write, what is no longer said included; never the books of loans and of orders."""
    body = status.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"ledger", "provider"})
    return {"hours": None, "gpuHoursLent": None, **body}


def pool_status(
    one: PoolObject, view: PoolView, before: PoolStatus, at: Instant, quota: QuotaWord | None = None
) -> PoolStatus:
    """The whole status of a pool but its books, which the ledger writes."""
    now = rfc3339(at)
    windows = view.pool.lending.windows if view.pool.lending else ()
    hours = lending_hours(windows, at)
    lendable = _lendable(view)
    conditions = (_ready(one, view, now), _floor(one, view, now), _overlap(one, view, now), *_provider(one, now))
    conditions += (
        () if quota is None else (_condition(one, "QuotaFollows", (quota.holds, quota.reason, quota.text), now),)
    )
    return PoolStatus(
        observed_generation=one.generation,
        conditions=with_conditions(before.conditions, conditions),
        nodes=NodeCounts(total=len(view.members), ready=len(view.at_home), lent=len(view.lent), floor=view.floor),
        lendable=lendable,
        loans=tuple(_loan(node, node.claim, at) for node in view.lent if node.claim is not None),
        hours=_hours(hours) if view.pool.lending else None,
        windows=_windows(windows, at),
        gpu_hours_lent=_lent_so_far(one.status, view, at),
        why=_why(view, lendable),
    )


def _loan(node: NodeView, claim: Claim, at: Instant) -> PoolLoan:
    so_far = ended(node, claim, at)
    return PoolLoan(
        node=node.name,
        policy=claim.policy,
        step=claim.step,
        since=rfc3339(claim.since),
        promised_return=rfc3339(claim.due),
        gpu_hours=_whole(so_far.gpu_hours),
        work_lost=_whole(so_far.work_lost),
        stopped=write_stopped(so_far.stopped),
        node_uid=node.uid,
        way_home=write_claim(claim),
    )


def _lent_so_far(status: PoolStatus, view: PoolView, at: Instant) -> str | None:
    """A loan that is booked while its claim is still coming off counts once. None where the books cannot be read."""
    try:
        books = read_books(status)
    except InvalidInput:
        return None
    booked = {past.move_id for past in books.recent}
    running = [ended(node, node.claim, at) for node in view.lent if node.claim]
    return _whole(books.gpu_hours + sum(loan.gpu_hours for loan in running if loan.move_id not in booked))


def _whole(hours: float) -> str:
    """Rounded down: a status that grew with every second would be written with every second."""
    return str(math.floor(hours))


def _hours(hours: Hours) -> str:
    return f"{'Open' if hours.open else 'Closed'}: {hours.why}"


def _windows(windows: tuple[Window, ...], at: Instant) -> tuple[WindowStatus, ...]:
    try:
        spans = next_spans(windows, at)
    except InvalidInput:
        return ()  # `hours` says what cannot be read
    return tuple(
        WindowStatus(action=span.window.action, opens=rfc3339(span.opens), closes=rfc3339(span.closes))
        for span in spans
    )


def _lendable(view: PoolView) -> int:
    lending = view.pool.lending
    if lending is None:
        return 0
    fit = sum(not (unfit(node) or in_use(node, lending.eviction)) for node in view.at_home)
    return max(0, min(fit, len(view.at_home) - view.floor, lending.max_loans - len(view.lent)))


def _why(view: PoolView, lendable: int) -> str:
    if view.pool.lending is None:
        return "lends nothing: there is no spec.lending"
    terms = view.pool.lending.eviction
    busy = [f"{node.name} {why}" for node in view.at_home if (why := unfit(node) or in_use(node, terms))]
    said = f"{len(view.lent)} lent, {lendable} more could be; {len(view.at_home)} at home, floor {view.floor}"
    return f"{said}; {busy[0]}" if busy and not lendable else said


def _condition(one: PoolObject, what: str, said: tuple[bool, str, str], now: str) -> Condition:
    holds, reason, message = said
    return Condition(
        type=what,
        status=ConditionStatus.TRUE if holds else ConditionStatus.FALSE,
        observed_generation=one.generation,
        last_transition_time=now,
        reason=reason,
        message=message,
    )


def _ready(one: PoolObject, view: PoolView, now: str) -> Condition:
    if one.recall_problem:
        return _condition(one, "Ready", (False, "RecallUnreadable", one.recall_problem), now)
    if view.contested:
        return _condition(one, "Ready", (False, "PoolsOverlap", _contested(view)), now)
    if not view.members:
        text = "no node bears the labels of spec.nodes.labels; correct them, or label nodes"
        return _condition(one, "Ready", (False, "NoNodes", text), now)
    return _condition(one, "Ready", (True, "Understood", counted(len(view.members), "node")), now)


def _provider(one: PoolObject, now: str) -> tuple[Condition, ...]:
    """Whether more nodes could be ordered; nothing where the pool grows at no provider."""
    if one.pool.scaling is None:
        return ()
    try:
        read_bought(one.status.provider)
    except InvalidInput as exc:
        return (_condition(one, "ProviderReady", (False, "SpendUnknown", f"nothing is ordered: {exc}"), now),)
    said = one.status.provider
    if said is None:
        return (_condition(one, "ProviderReady", (False, "NotLooked", "its scaleRef was not looked at yet"), now),)
    text = said.why or f"{said.available} more nodes could be ordered"
    return (_condition(one, "ProviderReady", (not said.reason, said.reason or "Available", text), now),)


def _floor(one: PoolObject, view: PoolView, now: str) -> Condition:
    text = f"{len(view.at_home)} Ready nodes at home, floor {view.floor}"
    kept = len(view.at_home) >= view.floor
    return _condition(one, "FloorKept", (kept, "AtOrAboveFloor" if kept else "BelowFloor", text), now)


def _overlap(one: PoolObject, view: PoolView, now: str) -> Condition:
    if view.contested:
        return _condition(one, "Overlapping", (True, "PoolsOverlap", _contested(view)), now)
    return _condition(one, "Overlapping", (False, "NoOverlap", "no node matches another pool"), now)


def _contested(view: PoolView) -> str:
    names = ", ".join(view.contested[:5])
    return f"nodes that match another GPUPool too belong to neither: {names}; make the labels of the pools exclusive"
