"""One pod's agent, without its sockets: documents in, decisions and reports out."""

import asyncio
import logging
import uuid
from collections import Counter

from meltguard.agent.admission import Admission, Desks
from meltguard.agent.bearers import Bearers
from meltguard.agent.caller import Identify, identify_of
from meltguard.agent.documents import DocumentRefused, Documents, Identity
from meltguard.agent.envelope import BaselineFile, opened
from meltguard.agent.journal import Journal
from meltguard.agent.news import News
from meltguard.agent.peers import Peers
from meltguard.agent.place_desk import PlaceDesk
from meltguard.agent.place_relay import PlaceRelay
from meltguard.agent.places import Shelf
from meltguard.agent.quota_desk import QuotaDesk
from meltguard.agent.quota_store import QuotaStore
from meltguard.agent.report import Reporter, store_state
from meltguard.agent.server_watch import ServerWatch
from meltguard.agent.settings import AgentSettings, Callers
from meltguard.agent.statefile import StateFile
from meltguard.agent.token_keys import KeyRing
from meltguard.agent.token_keys_url import source_of
from meltguard.api.agent_report import AgentReport
from meltguard.api.store_state import StoreState
from meltguard.core.units import Seconds
from meltguard.ports import Clock

log = logging.getLogger(__name__)


class Agent:
    """Obeys documents, decides on requests, counts."""

    def __init__(self, settings: AgentSettings, clock: Clock, store: QuotaStore | None) -> None:
        self.settings, self._clock = settings, clock
        self.instance = uuid.uuid4().hex
        self.news = News()
        self._state = StateFile(settings.state_file)
        identity = Identity(
            policy=settings.policy, pod_uid=settings.pod_uid, default_tier=settings.callers.default_tier
        )
        self.documents = Documents(identity, settings.pace, self._state.remembered, clock.elapsed())
        self.quota = QuotaDesk(str(settings.policy), store, clock, self._state, self.news)
        self.peers = Peers(settings, clock)
        self._baseline_file = BaselineFile(settings.baseline_file)
        self.refused_documents: Counter[int] = Counter()
        self.refused_baselines = 0
        self.bearers = _bearers(settings.callers, clock)
        self.identify: Identify = self.bearers or identify_of(settings.callers)
        self.access_log = Journal(settings.access_log) if settings.access_log is not None else None
        self._obeyed = clock.elapsed()
        self._ticked = clock.elapsed()
        self._read_baseline()
        self.admission = Admission(settings, clock, Desks(self.documents, self.quota, self.news))
        self.shelf = Shelf(settings.places)
        self.place_desk = PlaceDesk(settings.pod_uid, self.admission, self.shelf, self.peers)
        self.place_relay = PlaceRelay(self.peers, settings.places.peer_within)
        self.server_watch = _watch(settings, self.admission, clock)
        self._reporter = Reporter(settings, self.instance, clock)

    def obey(self, raw: bytes) -> AgentReport:
        """Take a pushed document and enforce it from now on.

        Raises:
            DocumentRefused: it is not taken; what held goes on.
        """
        try:
            document = opened(self.settings.keys, raw)
            self.documents.take(document, self._clock.now(), self._clock.elapsed())
        except DocumentRefused as exc:
            self.refused_documents[exc.status] += 1
            log.warning("limit document refused", extra={"status": int(exc.status), "why": str(exc)})
            raise
        self.peers.introduced(document.peer_pass)
        self._obeyed = self._clock.elapsed()
        self._state.remember(self.documents.remembered)  # before the answer: what is acknowledged is never forgotten
        self.admission.refresh()
        return self.report()

    def report(self) -> AgentReport:
        """What is enforced, and the counters."""
        report = self._reporter.report(self.admission, self.quota, self.news)
        last = self.server_watch.last if self.server_watch is not None else None
        if last is None:
            return report
        words = {"server_held": last.words.held, "server_waiting": last.words.waiting}
        return report.model_copy(update={**words, "server_busy_seconds": last.words.busy})

    @property
    def state_failures(self) -> int:
        """How often the state file could not be written."""
        return self._state.failures

    @property
    def quota_store(self) -> StoreState:
        """How the store of quotas stands."""
        return store_state(self.admission, self.quota)

    @property
    def document_age(self) -> Seconds:
        """Seconds since a document was taken last, or since the start."""
        return Seconds(self._clock.elapsed() - self._obeyed)

    def tick(self) -> None:
        """Notice what only time or a file changes: a lease's end, a ramp's step, a new baseline, a lost slot."""
        self._read_baseline()
        self.admission.refresh()

    async def run(self) -> None:
        """Work in the background until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick_forever())
            tasks.create_task(self.quota.run(self.settings.quota.probe_every))
            if self.admission.records.journal is not None:
                tasks.create_task(self.admission.records.journal.run())
            if self.access_log is not None:
                tasks.create_task(self.access_log.run())
            if self.server_watch is not None:
                tasks.create_task(self.server_watch.run())
            if self.bearers is not None:
                tasks.create_task(self.bearers.ring.run())

    def stop(self) -> None:
        """Let readers and waiting requests go; what is in the GPU goes on."""
        self.admission.stop()
        self.news.close()

    @property
    def stuck_for(self) -> Seconds:
        """Seconds that the ticking task is late; 0 while it works."""
        return Seconds(max(0.0, self._clock.elapsed() - self._ticked - self.settings.pace.tick))

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.pace.tick)
            self.tick()
            self._ticked = self._clock.elapsed()

    def _read_baseline(self) -> None:
        raw = self._baseline_file.changed()
        if raw is None:
            return
        try:
            self.documents.take_baseline(opened(self.settings.keys, raw))
        except DocumentRefused as exc:
            self.refused_baselines += 1
            log.warning("baseline ignored, the last one holds", extra={"why": str(exc)})
            return
        self._state.remember(self.documents.remembered)


def _watch(settings: AgentSettings, admission: Admission, clock: Clock) -> ServerWatch | None:
    """Who looks at the image server; None where it tells nothing."""
    return None if settings.server is None else ServerWatch(settings.server, admission.gate.meter, clock)


def _bearers(callers: Callers, clock: Clock) -> Bearers | None:
    """Who reads tokens; None where nobody does."""
    rules = callers.tokens
    if rules is None:
        return None
    ring = KeyRing(source_of(rules), clock, rules.refresh_every, rules.ask_again_after)
    return Bearers(callers, rules, ring, clock)
