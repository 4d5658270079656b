"""The agent's own metrics, read from its counters at a scrape. Labels are documents' tiers and fixed words."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from meltguard.agent.agent import Agent
from meltguard.agent.bearers import OUTCOMES
from meltguard.agent.clients import Trouble
from meltguard.agent.counters import WAIT_BOUNDS, TierCounts
from meltguard.agent.place_relay import Passed
from meltguard.agent.places import PlaceState
from meltguard.agent.quota_desk import ANSWERED_BY
from meltguard.agent.refusal import Reason
from meltguard.agent.token_keys import FETCHES
from meltguard.api.agent_report import AgentReport, LimitSource, TierReport
from meltguard.api.store_state import StoreState
from meltguard.core.units import TierName

PREFIX: Final = "meltguard_agent_"
DOCUMENT_STATUSES: Final = (400, 401, 403, 409, 413)
TIER_COUNTERS: Final = {
    "offered": "Requests that came, refused and waiting ones included, retries counted once.",
    "offered_units": "Image units of the requests that came.",
    "barred_units": "Image units of those refused for what no GPU would mend: used up, above the tier's own maximum.",
    "admitted": "Requests that went to the GPU.",
    "admitted_units": "Image units that went to the GPU.",
    "waited": "Admitted requests that waited in the queue.",
}
TIER_GAUGES: Final = {
    "waiting": "Requests in the queue.",
    "waiting_units": "Image units in the queue.",
    "oldest_wait": "Seconds that the longest waiting request has waited.",
    "wait_p50": "Median wait in seconds of those admitted in the last minute.",
    "wait_p99": "99th percentile of the wait in seconds of those admitted in the last minute.",
}
POD_COUNTERS: Final = {
    "busy_gpu_seconds": "GPU-seconds spent on images.",
    "units_done": "Image units completed.",
}
POD_GAUGES: Final = {
    "gpus": "Requests that may be in the GPU at once.",
    "in_flight": "Requests in the GPU.",
    "in_flight_units": "Image units in the GPU.",
    "lease_left": "Seconds until the lease ends.",
    "epoch": "Epoch of the document in force.",
    "revision": "Revision of the document in force.",
}


class AgentMetrics(Collector):
    """Presents one agent's counters."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    @override
    def collect(self) -> Iterator[Metric]:
        """All metrics, now."""
        report = self._agent.report()
        for name, text in POD_COUNTERS.items():
            yield _counter(name, text, [((), getattr(report, name))])
        for name, text in POD_GAUGES.items():
            yield _gauge(name, text, [((), getattr(report, name))])
        for name, text in TIER_COUNTERS.items():
            yield _counter(name, text, _by_tier(report.tiers, name), ("tier",))
        for name, text in TIER_GAUGES.items():
            yield _gauge(name, text, _by_tier(report.tiers, name), ("tier",))
        yield self._waits()
        yield from self._refusals()
        yield from self._about_itself(report)

    def _waits(self) -> Metric:
        told = "Seconds that admitted requests waited in the queue."
        family = HistogramMetricFamily(PREFIX + "wait_seconds", told, labels=("tier",))
        for tier, counts in self._agent.admission.records.tally.tiers.items():
            names = [*(str(bound) for bound in WAIT_BOUNDS), "+Inf"]
            family.add_metric((tier,), list(zip(names, accumulate(counts.wait_counts), strict=True)), counts.wait_sum)
        return family

    def _refusals(self) -> Iterator[Metric]:
        tiers = self._agent.admission.records.tally.tiers
        labels = ("tier", "reason")
        yield _counter("refused", "Requests turned away.", _by_reason(tiers, "refused"), labels)
        told = "Requests that would be refused if the policy were enforced."
        yield _counter("would_refuse", told, _by_reason(tiers, "would_refuse"), labels)

    def _about_itself(self, report: AgentReport) -> Iterator[Metric]:
        agent = self._agent
        sources = [((source.value,), float(report.source is source)) for source in LimitSource]
        yield _gauge("source", "1 for where the limits in force come from.", sources, ("source",))
        yield from self._about_the_store()
        yield _gauge("document_age", "Seconds since a document was taken last.", [((), agent.document_age)])
        lines = agent.access_log
        yield _counter("access_log_dropped", "Access log lines not written.", [((), lines.dropped if lines else 0)])
        mended = [((), float(agent.admission.lost_slots.mended))]
        yield _counter("slots_mended", "Slots taken back whose requests were gone without giving them back.", mended)
        untold = [((), float(agent.admission.lost_slots.untold))]
        yield _counter(
            "ends_untold",
            "Slots of a proxy's requests whose end nobody told: free at the bound, or once the server had them not.",
            untold,
        )
        yield from self._about_the_server(report)
        yield from self._about_places()
        yield from self._about_callers()
        statuses = [((str(status),), agent.refused_documents[status]) for status in DOCUMENT_STATUSES]
        yield _counter("documents_refused", "Pushed documents not taken.", statuses, ("status",))
        yield _counter("baselines_refused", "Baseline files not taken.", [((), agent.refused_baselines)])
        yield _counter("state_failures", "Writes of the state file that failed.", [((), agent.state_failures)])
        journal = agent.admission.records.journal
        yield _counter("journal_dropped", "Journal lines not written.", [((), journal.dropped if journal else 0)])

    def _about_the_server(self, report: AgentReport) -> Iterator[Metric]:
        held, waiting, watch = report.server_held, report.server_waiting, self._agent.server_watch
        told = "Requests in the image server at least, by its own word; no sample while that is unknown."
        yield _gauge("server_held", told, [] if held is None else [((), held)])
        told = "Those of them that do not run yet."
        yield _gauge("server_waiting", told, [] if waiting is None else [((), waiting)])
        yield _gauge(
            "others", "Requests in the image server that did not come through this agent.", [((), report.others)]
        )
        failures = watch.failures if watch is not None else 0
        yield _counter("server_look_failures", "Looks at the image server's own queue in vain.", [((), failures)])

    def _about_places(self) -> Iterator[Metric]:
        shelf, admission = self._agent.shelf, self._agent.admission
        waiting = sum(place.outlook(admission) is not None for place in shelf)
        ready = sum(place.state is PlaceState.READY for place in shelf)
        states = {
            PlaceState.WAITING: waiting,
            PlaceState.RUNNING: len(shelf) - waiting - ready,
            PlaceState.READY: ready,
        }
        counts = [((state.value,), float(count)) for state, count in states.items()]
        yield _gauge("places", "Requests that go on without their connection (202).", counts, ("state",))
        yield _gauge("places_bytes", "Bytes of answers that are kept to be fetched.", [((), shelf.kept)])
        yield _counter("places_given", "Requests that were given a place.", [((), shelf.given)])
        told = "Requests that were to have a place and went on with their connection: there were too many."
        yield _counter("places_full", told, [((), shelf.refused)])
        passed = [((each.value,), float(self._agent.place_relay.passed[each])) for each in Passed]
        told = "Questions about places of other pods, by what became of them."
        yield _counter("places_passed_on", told, passed, ("result",))

    def _about_callers(self) -> Iterator[Metric]:
        bearers = self._agent.bearers
        outcomes = [((each,), float(bearers.outcomes[each] if bearers else 0)) for each in OUTCOMES]
        yield _counter("tokens", "Requests by what became of their token.", outcomes, ("outcome",))
        fetches = [((each,), float(bearers.ring.fetches[each] if bearers else 0)) for each in FETCHES]
        yield _counter("token_key_fetches", "Fetches of the issuer's key set.", fetches, ("result",))
        keys = len(bearers.ring.keys) if bearers else 0
        yield _gauge("token_keys", "Keys of the issuer that verify tokens.", [((), keys)])
        age = bearers.ring.age if bearers else None  # no sample where there never was a set
        told = "Seconds since the issuer's key set was fetched last."
        yield _gauge("token_keys_age", told, [] if age is None else [((), age)])
        clients = self._agent.admission.clients
        troubles = [((each.value,), float(clients.troubles[each])) for each in Trouble]
        told = "Connections and requests ended for what the client did with them, before any limit."
        yield _counter("clients_turned_away", told, troubles, ("reason",))
        told = "Bytes of bodies read ahead and of answers not yet read, of requests with more than 4 KiB."
        yield _gauge("client_bytes", told, [((), clients.held.kept)])

    def _about_the_store(self) -> Iterator[Metric]:
        state, quota = self._agent.quota_store, self._agent.quota
        yield _gauge("quota_store_up", "0 while quotas cannot be counted.", [((), state.counts)])
        states = [((each.value,), float(each is state)) for each in StoreState]
        yield _gauge("quota_store_state", "1 for how the store of quotas stands.", states, ("state",))
        failed = [((each.value,), float(count)) for each, count in quota.health.all_failures().items()]
        yield _counter("quota_store_failures", "Calls of the store that failed.", failed, ("state",))
        fell = [((), float(quota.told.fell_back.total()))]
        yield _counter("quota_store_fell_back", "Fail-overs of the store that lost writes; they were told again.", fell)
        asked = [((who,), float(quota.answers[who])) for who in ANSWERED_BY]
        told = "Claims on a quota that the store answered, or that were known to be in vain without asking it."
        yield _counter("quota_claims", told, asked, ("answered_by",))


def registry_of(agent: Agent) -> CollectorRegistry:
    """A registry with this agent's metrics and no others: several agents may live in one process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(AgentMetrics(agent))
    return registry


Samples = Iterable[tuple[tuple[str, ...], float]]


def _counter(name: str, text: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, text: str, samples: Samples, labels: tuple[str, ...] = ()) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, float(value))
    return family


def _by_tier(tiers: Mapping[str, TierReport], name: str) -> Samples:
    return [((tier,), getattr(report, name)) for tier, report in tiers.items()]


def _by_reason(tiers: Mapping[TierName, TierCounts], name: str) -> Samples:
    return [
        ((tier, reason.value), getattr(counts, name)[reason]) for tier, counts in tiers.items() for reason in Reason
    ]
