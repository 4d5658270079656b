"""What an agent must still know after a restart, in one small file that is replaced whole."""

import logging
import os
from pathlib import Path

from pydantic import Field, ValidationError

from meltguard.agent.documents import Mark, Remembered
from meltguard.api.wire import MessageModel
from meltguard.core.units import Instant

log = logging.getLogger(__name__)


class _MarkText(MessageModel):
    policy_uid: str = ""
    epoch: int = 0
    revision: int = 0
    issued_at: float = 0.0


class DayText(MessageModel):
    """Which span of the quota store an agent has seen."""

    id: str
    end: float
    """Seconds since the epoch, on the store's clock."""


class StateText(MessageModel):
    """The file's content."""

    lease: _MarkText = Field(default_factory=_MarkText)
    baseline: _MarkText = Field(default_factory=_MarkText)
    baseline_from: float = 0.0
    features: dict[str, int] = Field(default_factory=dict)
    """Of the last lease: feature name to the percentage of users who may have it."""
    days: dict[str, DayText] = Field(default_factory=dict)
    """By book: a tier, and its period where that is not a day."""


class StateFile:
    """Reads once, then replaces at each change. Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._state = _read(path) if path is not None else StateText()
        self.failures = 0

    @property
    def remembered(self) -> Remembered:
        """The newest documents seen."""
        return Remembered(
            lease=_mark(self._state.lease),
            baseline=_mark(self._state.baseline),
            baseline_from=Instant(self._state.baseline_from),
            features=self._state.features,
        )

    @property
    def days(self) -> dict[str, DayText]:
        """The quota store's spans seen, by book."""
        return dict(self._state.days)

    @property
    def reservations(self) -> Path | None:
        """Where those under way are kept, beside it."""
        return None if self._path is None else self._path.with_name(f"{self._path.name}.reservations")

    def remember(self, remembered: Remembered) -> None:
        """Keep the newest documents seen."""
        update = {
            "lease": _text(remembered.lease),
            "baseline": _text(remembered.baseline),
            "baseline_from": remembered.baseline_from,
            "features": dict(remembered.features),
        }
        self._replace(self._state.model_copy(update=update))

    def remember_day(self, book: str, day: DayText) -> None:
        """Keep which span of the quota store was seen."""
        self._replace(self._state.model_copy(update={"days": {**self._state.days, book: day}}))

    def _replace(self, state: StateText) -> None:
        """A full disk must not stop limits from being obeyed: it is logged, counted, and tried again next time."""
        self._state = state
        if self._path is None:
            return
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            draft.write_text(state.model_dump_json(by_alias=True), encoding="utf-8")
            draft.replace(self._path)
        except OSError as exc:
            self.failures += 1
            log.warning("state file not written", extra={"path": str(self._path), "error": str(exc)})


def _read(path: Path) -> StateText:
    try:
        return StateText.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return StateText()
    except ValidationError as exc:
        aside = path.with_name(f"{path.name}.broken")
        path.replace(aside)  # an agent that does not start protects nobody
        log.warning("state file was broken and is set aside", extra={"path": str(aside), "error": str(exc)})
        return StateText()


def _mark(text: _MarkText) -> Mark:
    return Mark(policy_uid=text.policy_uid, epoch=text.epoch, revision=text.revision, issued_at=Instant(text.issued_at))


def _text(mark: Mark) -> _MarkText:
    return _MarkText(policy_uid=mark.policy_uid, epoch=mark.epoch, revision=mark.revision, issued_at=mark.issued_at)
