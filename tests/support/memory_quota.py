"""A quota store in memory, by the arithmetic of core.quota: what the real one is compared with."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from meltguard.agent.quota_store import (
    AccountKey,
    Ending,
    Outcome,
    Reserved,
    Settlement,
    SpanClaim,
    SpanSeen,
    StoreTrouble,
)
from meltguard.api.store_state import StoreState
from meltguard.core.quota import Account, claim_images, commit, release
from meltguard.ports import Clock


@dataclass(slots=True)
class _Book:
    seen: SpanSeen
    lost: bool
    writes: int = 0
    accounts: dict[str, Account] = field(default_factory=dict)


class MemoryQuotaStore:
    """Behaves as the store of all pods. `broken` makes every call fail; `flush` forgets all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._days: dict[tuple[str, str], _Book] = {}
        self.broken = False
        self.trouble = StoreState.DOWN
        self.calls = 0
        self._answers = asyncio.Event()
        self._answers.set()

    def flush(self) -> None:
        """Forget everything."""
        self._days.clear()

    @contextlib.contextmanager
    def answering_late(self) -> Iterator[None]:
        """Reserve at once, and answer only after the block."""
        self._answers.clear()
        yield
        self._answers.set()

    async def reserve(self, claim: SpanClaim) -> Reserved:
        """As the port says."""
        answer = self._reserved(claim)
        await self._answers.wait()
        return answer

    def _reserved(self, claim: SpanClaim) -> Reserved:
        self._answer()
        now, place = self._clock.now(), (claim.account.policy, claim.account.book)
        remembers = claim.seen is not None and claim.seen.end > now
        day = self._days.get(place)
        if day is None or day.seen.end <= now:
            if not claim.span.holds(now):
                return Reserved(outcome=Outcome.WRONG_SPAN, used=0, now=now, span=None)
            end = max(claim.span.end, claim.seen.end) if claim.seen is not None and remembers else claim.span.end
            day = self._days[place] = _Book(SpanSeen(id=claim.new_id, end=end), lost=remembers)
        elif claim.seen is not None and remembers and claim.seen.id != day.seen.id:
            day.lost = True
        if day.lost:
            return Reserved(outcome=Outcome.LOST, used=0, now=now, span=day.seen, writes=day.writes)
        if claim.seen is not None and claim.seen.id == day.seen.id and day.writes < claim.writes:
            return Reserved(outcome=Outcome.BEHIND, used=0, now=now, span=day.seen, writes=day.writes)
        answered = claim_images(day.accounts.get(claim.account.user, Account()), claim.claim, now)
        day.accounts[claim.account.user] = answered.account
        outcome, account = Outcome(answered.verdict.value), answered.account
        day.writes += outcome is Outcome.GRANTED
        return Reserved(
            outcome=outcome,
            used=account.used,
            now=now,
            span=day.seen,
            held=account.used - account.spent,
            writes=day.writes,
            requests=_requests(account) if outcome is Outcome.EXHAUSTED else None,
        )

    async def settle(self, settlements: Sequence[Settlement]) -> Mapping[str, int]:
        """As the port says."""
        self._answer()
        return {one.account.book: self._settle(one) for one in settlements}

    def _settle(self, settlement: Settlement) -> int:
        day = self._days.get((settlement.account.policy, settlement.account.book))
        if day is None or day.seen.id != settlement.span or day.seen.end <= self._clock.now():
            return 0
        before = account = day.accounts.get(settlement.account.user, Account())
        if settlement.ending is Ending.COMMIT:
            account = commit(account, settlement.request, settlement.images)
        else:
            account = release(account, settlement.request, settlement.attempt)
        day.accounts[settlement.account.user] = account
        day.writes += account != before
        return day.writes

    async def probe(self, policy: str) -> None:
        """As the port says."""
        del policy
        self._answer()

    def account(self, key: AccountKey) -> Account:
        """An account as it stands."""
        day = self._days.get((key.policy, key.book))
        return Account() if day is None else day.accounts.get(key.user, Account())

    def used(self, key: AccountKey) -> int:
        """Images of an account, delivered or set aside."""
        return self._days[key.policy, key.book].accounts[key.user].used

    def _answer(self) -> None:
        self.calls += 1
        if self.broken:
            raise StoreTrouble("the quota store in memory was told to fail", self.trouble)


def _requests(account: Account) -> dict[str, Outcome]:
    delivered = dict.fromkeys(account.delivered, Outcome.DELIVERED)
    return {**dict.fromkeys(account.holds, Outcome.IN_PROGRESS), **delivered}
