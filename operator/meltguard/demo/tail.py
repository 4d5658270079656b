"""The agents' journals while they grow: what was decided in the last seconds, for the live view."""

from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Instant, Seconds, Share
from meltguard.sim.ledger import quantile

SPAN: Final = Seconds(10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TierNow:
    """One tier over the last seconds."""

    tier: str
    admitted: float  # requests a second
    refused: float  # requests a second
    reason: str  # the commonest of the refusals; "" where there was none
    wait_p50: Seconds
    wait_p99: Seconds


class JournalTail:
    """Reads what was added to any journal since the last look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._recent: deque[JournalEntry] = deque(maxlen=20_000)
        self._decoder = msgspec.json.Decoder(JournalEntry)

    def look(self) -> None:
        """Take new lines; one that is being written is left for the next look."""
        for path in self._folder.glob("*/*.jsonl"):
            start = self._read.get(path, 0)
            if path.stat().st_size > start:
                with path.open("rb") as file:
                    file.seek(start)
                    added = file.read()
                whole = added[: added.rfind(b"\n") + 1]
                self._read[path] = start + len(whole)
                self._recent.extend(self._decoder.decode(text) for text in whole.splitlines())

    def tiers(self, now: Instant) -> tuple[TierNow, ...]:
        """The tiers' last SPAN seconds, by when requests ended."""
        recent = [entry for entry in self._recent if now - (entry.at + entry.wait + entry.took) <= SPAN]
        names = sorted({entry.tier for entry in self._recent})
        return tuple(_now(name, [entry for entry in recent if entry.tier == name]) for name in names)


def _now(tier: str, entries: list[JournalEntry]) -> TierNow:
    waits = [entry.wait for entry in entries if entry.verdict == "admitted"]
    reasons = Counter(entry.reason for entry in entries if entry.verdict == "refused")
    return TierNow(
        tier=tier,
        admitted=len(waits) / SPAN,
        refused=reasons.total() / SPAN,
        reason=next((reason for reason, _ in reasons.most_common(1)), ""),
        wait_p50=Seconds(quantile(waits, Share(0.5))),
        wait_p99=Seconds(quantile(waits, Share(0.99))),
    )
