"""A quota store in memory, by the arithmetic of core.quota: what the real one is compared with."""

from dataclasses import dataclass, field

from meltguard.agent.quota_store import AccountKey, DayClaim, DaySeen, Ending, Outcome, Reserved, Settlement
from meltguard.core.quota import Account, claim_images, commit, release
from meltguard.errors import Unavailable
from meltguard.ports import Clock


@dataclass(slots=True)
class _TierDay:
    seen: DaySeen
    lost: bool
    accounts: dict[str, Account] = field(default_factory=dict)


class MemoryQuotaStore:
    """Behaves as the store of all pods. `broken` makes every call fail; `flush` forgets all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._days: dict[tuple[str, str], _TierDay] = {}
        self.broken = False
        self.calls = 0

    def flush(self) -> None:
        """Forget everything."""
        self._days.clear()

    async def reserve(self, claim: DayClaim) -> Reserved:
        """As the port says."""
        self._answer()
        now, place = self._clock.now(), (claim.account.policy, claim.account.tier)
        remembers = claim.seen is not None and claim.seen.end > now
        day = self._days.get(place)
        if day is None or day.seen.end <= now:
            if not claim.day.holds(now):
                return Reserved(outcome=Outcome.WRONG_DAY, used=0, now=now, day=None)
            end = max(claim.day.end, claim.seen.end) if claim.seen is not None and remembers else claim.day.end
            day = self._days[place] = _TierDay(DaySeen(id=claim.new_id, end=end), lost=remembers)
        elif claim.seen is not None and remembers and claim.seen.id != day.seen.id:
            day.lost = True
        if day.lost:
            return Reserved(outcome=Outcome.LOST, used=0, now=now, day=day.seen)
        answered = claim_images(day.accounts.get(claim.account.user, Account()), claim.claim, now)
        day.accounts[claim.account.user] = answered.account
        outcome = Outcome(answered.verdict.value)
        return Reserved(outcome=outcome, used=answered.account.used, now=now, day=day.seen)

    async def settle(self, settlement: Settlement) -> None:
        """As the port says."""
        self._answer()
        day = self._days.get((settlement.account.policy, settlement.account.tier))
        if day is None or day.seen.id != settlement.day or day.seen.end <= self._clock.now():
            return
        account = day.accounts.get(settlement.account.user, Account())
        if settlement.ending is Ending.COMMIT:
            account = commit(account, settlement.request, settlement.images)
        else:
            account = release(account, settlement.request)
        day.accounts[settlement.account.user] = account

    async def ping(self) -> None:
        """As the port says."""
        self._answer()

    def used(self, key: AccountKey) -> int:
        """Images of an account, delivered or set aside."""
        return self._days[key.policy, key.tier].accounts[key.user].used

    def _answer(self) -> None:
        self.calls += 1
        if self.broken:
            raise Unavailable("the quota store in memory was told to fail")
