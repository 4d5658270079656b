"""The mark on a workload whose updates a policy holds: who holds them, and since when."""

from typing import Annotated, Final

from pydantic import Field, ValidationError

from meltguard.api.quantities import parse_instant
from meltguard.api.wire import MessageModel
from meltguard.core.comparison import Compared, Spent
from meltguard.core.seen import RolloutMark, TrialMark, TrialStage
from meltguard.core.trial import Tally
from meltguard.errors import InvalidInput

ROLLOUT_HELD: Final = "meltguard.io/rollout-held"
"""Annotation with the mark's JSON, and label, by which the workloads that are held are found again."""


class TallyText(MessageModel):
    """Pairs that were compared: logarithms of the update's cost over the cost before."""

    count: Annotated[int, Field(ge=0)]
    """How many."""
    mean: float
    """Their mean: -0.22 is a fifth less GPU time for an image."""
    spread: Annotated[float, Field(ge=0)]
    """Sum of their squared deviations from it."""
    last: float
    """The last of them."""
    swings: Annotated[float, Field(ge=0)]
    """Sum of squares of the steps from each to the next."""


class SpentText(MessageModel):
    """What one revision's images cost while they were compared."""

    revision: Annotated[str, Field(max_length=64)]
    """Its pod-template-hash."""
    busy: Annotated[float, Field(ge=0)]
    """GPU-seconds."""
    done: Annotated[float, Field(ge=0)]
    """Image units."""


class ComparedText(MessageModel):
    """What the trial had found when its stage began."""

    whole: TallyText
    """Since its first pod."""
    here: TallyText
    """At the share of the pods that ran it last."""
    spent: Annotated[tuple[SpentText, ...], Field(max_length=64)] = ()
    """By revision."""


class TrialMarkText(MessageModel):
    """The trial of an update, on one pod first."""

    stage: TrialStage
    """How far it is."""
    template: Annotated[str, Field(max_length=64)]
    """Digest of the pod template that is tried."""
    before: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=32)]
    """Revisions (pod-template-hash) that served before it."""
    since: Annotated[str, Field(max_length=40)]
    """RFC 3339: of the stage."""
    strategy: Annotated[str, Field(max_length=1024)]
    """The workload's own strategy, as JSON."""
    pods: Annotated[int, Field(ge=1)] = 1
    """Pods that are to run it at this stage."""
    found: ComparedText | None = None
    """Left out while nothing was compared."""


class RolloutMarkText(MessageModel):
    """The annotation's JSON."""

    policy: Annotated[str, Field(max_length=320)]
    """The policy that holds, namespace/name."""
    uid: Annotated[str, Field(max_length=64)]
    """Its uid: a policy that is made anew under the same name holds nothing yet."""
    since: Annotated[str, Field(max_length=40)]
    """RFC 3339."""
    trial: TrialMarkText | None = None
    """Of an update that waits."""


def read_mark(text: str) -> RolloutMark:
    """The mark in an annotation.

    Raises:
        InvalidInput: it cannot be read; the text says what to do.
    """
    try:
        read = RolloutMarkText.model_validate_json(text)
        since = parse_instant(read.since)
        trial = None if read.trial is None else _trial(read.trial)
    except (ValidationError, InvalidInput) as exc:
        problem = f"annotation {ROLLOUT_HELD} cannot be read: remove it, and resume the rollout if it should go on"
        raise InvalidInput(problem) from exc
    return RolloutMark(policy=read.policy, policy_uid=read.uid, since=since, trial=trial)


def _trial(text: TrialMarkText) -> TrialMark:
    return TrialMark(
        stage=text.stage,
        template=text.template,
        before=text.before,
        since=parse_instant(text.since),
        strategy=text.strategy,
        pods=text.pods,
        found=None if text.found is None else _compared(text.found),
    )


def _compared(text: ComparedText) -> Compared:
    spent = tuple((one.revision, Spent(busy=one.busy, done=one.done)) for one in text.spent)
    return Compared(whole=_tally(text.whole), here=_tally(text.here), spent=spent)


def _tally(text: TallyText) -> Tally:
    return Tally(count=text.count, mean=text.mean, spread=text.spread, last=text.last, swings=text.swings)


def write_mark(text: RolloutMarkText) -> str:
    """The annotation's text."""
    return text.model_dump_json(by_alias=True, exclude_none=True)
