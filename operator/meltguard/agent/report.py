"""What an agent says of itself."""

from meltguard.agent.admission import Admission
from meltguard.agent.counters import TierCounts
from meltguard.agent.news import News
from meltguard.agent.quota_desk import QuotaDesk
from meltguard.agent.settings import AgentSettings
from meltguard.api.agent_report import AgentReport, TierReport
from meltguard.api.store_state import StoreState
from meltguard.core.units import Seconds, TierName
from meltguard.ports import Clock

QUANTILES = (0.5, 0.99)


class Reporter:
    """Writes the agent's report."""

    def __init__(self, settings: AgentSettings, instance: str, clock: Clock) -> None:
        self._settings, self._instance, self._clock = settings, instance, clock
        self._started = clock.elapsed()

    def report(self, admission: Admission, quota: QuotaDesk, news: News) -> AgentReport:
        """The document in force and all counters, now."""
        at = self._clock.elapsed()
        standing, meter = admission.standing, admission.gate.meter
        lease_left = 0.0 if standing.lease_until is None else max(0.0, standing.lease_until - at)
        return AgentReport(
            pod_uid=self._settings.pod_uid,
            instance=self._instance,
            sequence=news.sequence,
            uptime=at - self._started,
            source=standing.source,
            epoch=standing.epoch,
            revision=standing.revision,
            lease_left=lease_left,
            gpus=self._settings.gpus,
            busy_gpu_seconds=meter.busy(at),
            units_done=meter.units_done,
            in_flight=meter.in_flight,
            in_flight_units=max(0.0, meter.units_in_flight),
            others=meter.others,
            quota_store=store_state(admission, quota),
            tiers={name: _tier(admission, name, counts, at) for name, counts in admission.records.tally.tiers.items()},
        )


def store_state(admission: Admission, quota: QuotaDesk) -> StoreState:
    """How the store of quotas stands; unused where no tier has one."""
    if all(rule.quota is None for rule in admission.standing.tiers.values()):
        return StoreState.UNUSED
    return quota.store_state


def _tier(admission: Admission, name: TierName, counts: TierCounts, at: Seconds) -> TierReport:
    line = admission.gate.line
    oldest = line.of(name).oldest()
    half, most = counts.waits.quantiles(QUANTILES, at)
    return TierReport(
        offered_units=counts.offered_units,
        offered_squares=max(0.0, counts.offered_squares),
        barred_units=counts.barred_units,
        offered=counts.offered,
        admitted=counts.admitted,
        admitted_units=counts.admitted_units,
        waited=counts.waited,
        refused={reason.value: count for reason, count in counts.refused.items() if count},
        waiting=line.count(name),
        waiting_units=line.units(name),
        waiting_for_gpu_units=admission.gate.waiting_for_gpu(name, at),
        rate=admission.gate.rate_of(name),
        oldest_wait=max(0.0, at - oldest.since) if oldest is not None else 0.0,
        wait_p50=half,
        wait_p99=most,
    )
