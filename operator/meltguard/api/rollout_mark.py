"""The mark on a workload whose updates a policy holds: who holds them, and since when."""

from typing import Annotated, Final

from pydantic import Field, ValidationError

from meltguard.api.quantities import parse_instant
from meltguard.api.wire import MessageModel
from meltguard.core.seen import RolloutMark, TrialMark, TrialStage
from meltguard.errors import InvalidInput

ROLLOUT_HELD: Final = "meltguard.io/rollout-held"
"""Annotation with the mark's JSON, and label, by which the workloads that are held are found again."""


class TrialMarkText(MessageModel):
    """The trial of an update on one pod."""

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
    )


def write_mark(text: RolloutMarkText) -> str:
    """The annotation's text."""
    return text.model_dump_json(by_alias=True, exclude_none=True)
