"""Counts and journals what becomes of each request."""

from meltguard.agent.counters import Tally
from meltguard.agent.journal import Journal, JournalEntry
from meltguard.agent.quota_store import hashed
from meltguard.agent.refusal import Reason
from meltguard.agent.settings import AgentSettings
from meltguard.agent.standing import Standing
from meltguard.agent.visit import Result, Visit
from meltguard.core.units import Instant, Seconds, TierName, Units
from meltguard.ports import Clock


class Records:
    """One agent's counts and journal."""

    def __init__(self, settings: AgentSettings, clock: Clock, tally: Tally) -> None:
        self._clock, self.tally = clock, tally
        self._pod, self._names_users = settings.pod_uid, settings.journal_names_users
        self.journal = Journal(settings.journal) if settings.journal is not None else None

    def begin(self, standing: Standing) -> None:
        """Show every tier that the document knows from its first moment, at zero."""
        for rule in (*standing.tiers.values(), standing.fallback):
            self.tally.tier(TierName(rule.name))

    def came(self, visit: Visit) -> None:
        """A request came."""
        if self.is_new(visit):
            visit.counts.offer(visit.units)
        else:
            visit.retry = True

    def entered_at_once(self, visit: Visit) -> None:
        """A request with a key entered."""
        if not self.is_new(visit):
            visit.counts.came_before(visit.units)

    def is_new(self, visit: Visit) -> bool:
        """Whether it is no retry of one that came lately."""
        ask = visit.ask
        return ask.key is None or self.tally.is_new(f"{ask.user}\0{ask.key}", visit.came)

    def would_refuse(self, visit: Visit, reason: Reason) -> None:
        """A request would have been refused, had the policy been enforced."""
        visit.would_refuse = reason
        visit.counts.would_refuse[reason] += 1

    def admitted(self, visit: Visit, at: Seconds) -> None:
        """A request went to the GPU."""
        visit.counts.admit(visit.units, visit.waited, at)

    def refused(self, visit: Visit, reason: Reason, status: int) -> None:
        """A request was turned away, or its client left while waiting."""
        visit.counts.refuse(reason, Units(0.0) if visit.retry else visit.units)
        gone = reason is Reason.CLIENT_GONE
        result = Result(status=0 if gone else status, finished=False, delivered=False)
        self._note(visit, "gone" if gone else "refused", reason.value, result)

    def ended(self, visit: Visit, result: Result, took: Seconds) -> None:
        """An admitted request has ended."""
        self._note(visit, "admitted", "", result, took)

    def _note(
        self,
        visit: Visit,
        verdict: str,
        reason: str,
        result: Result,
        took: Seconds = Seconds(0.0),
    ) -> None:
        if self.journal is None:
            return
        user = visit.ask.user if self._names_users else hashed(visit.ask.user)
        self.journal.note(
            JournalEntry(
                at=Instant(self._clock.now() - (self._clock.elapsed() - visit.came)),
                pod=self._pod,
                tier=visit.tier,
                user=user,
                images=visit.images,
                made=result.images,
                units=visit.units,
                verdict=verdict,
                reason=reason,
                would_refuse=visit.would_refuse.value if visit.would_refuse is not None else "",
                wait=visit.waited,
                took=took,
                status=result.status,
                delivered=result.delivered,
                source=visit.standing.source.value,
                epoch=visit.standing.epoch,
                revision=visit.standing.revision,
                state=visit.rule.state.value,
                rate=visit.rule.rate,
                feature=visit.ask.feature,
            )
        )
