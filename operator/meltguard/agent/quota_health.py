"""How the quota store stands with this agent: told when it changes, in the log and to whoever reads the report."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

from meltguard.agent.news import News
from meltguard.agent.quota_store import StoreTrouble
from meltguard.api.store_state import StoreState, told
from meltguard.core.units import Seconds

log = logging.getLogger(__name__)

FAILURES_BORNE: Final = 3  # in a row, before a store that does not answer counts as down
PASSING: Final = frozenset(
    {StoreState.SLOW, StoreState.DOWN, StoreState.CLOSED, StoreState.FAULTY}
)  # may be over at the next request


class StoreHealth:
    """One agent's view of the store. A store that does not answer is borne a little; one that says no is believed."""

    def __init__(self, news: News, *, exists: bool) -> None:
        self._news, self._exists = news, exists
        self._trouble: StoreState | None = None
        self._lost: dict[str, Seconds] = {}  # book: when its span ends, on the steady clock
        self._shown = self.state(Seconds(0.0))
        self.failures = 0
        self.failed: Counter[StoreState] = Counter()

    @property
    def refusing(self) -> bool:
        """Whether claims are refused without asking."""
        return not self._exists or self.failures >= FAILURES_BORNE

    def state(self, at: Seconds) -> StoreState:
        """How it stands now."""
        if not self._exists:
            return StoreState.MISSING
        if self._trouble is not None and self.refusing:
            return self._trouble
        self._lost = {book: end for book, end in self._lost.items() if end > at}
        return StoreState.LOST if self._lost else StoreState.OK

    def answered(self, at: Seconds) -> None:
        """It did what it was asked."""
        self.failures, self._trouble = 0, None
        self._show(at, "")

    def failed_with(self, trouble: StoreTrouble, at: Seconds) -> None:
        """It did not."""
        self.failed[trouble.state] += 1
        self._trouble = trouble.state
        self.failures = self.failures + 1 if trouble.state in PASSING else max(self.failures + 1, FAILURES_BORNE)
        self._show(at, str(trouble))

    def remembers(self, book: str) -> None:
        """It knows a book's span."""
        self._lost.pop(book, None)

    def forgot(self, book: str, until: Seconds) -> None:
        """It does not, and grants nothing of it until the span ends."""
        self._lost[book] = until

    def all_failures(self) -> Mapping[StoreState, int]:
        """Calls that failed since the start, by what was wrong; zeros included."""
        return {state: self.failed[state] for state in StoreState if not state.counts}

    def _show(self, at: Seconds, error: str) -> None:
        state = self.state(at)
        if state is self._shown:
            return
        self._shown = state
        facts = {"state": state.value, "error": error} if error else {"state": state.value}
        log.log(logging.INFO if state.counts else logging.WARNING, told(state), extra=facts)
        self._news.tell()
