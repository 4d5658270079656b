"""A rehearsal as JSON, for programs: figures, story, and what was taken otherwise than it is written."""

import json
from collections.abc import Sequence

from meltguard.api.wire import MessageModel
from meltguard.clock import rfc3339
from meltguard.rehearse.figures import Figures
from meltguard.rehearse.rehearsal import Rehearsal


class ToldReport(MessageModel):
    """One line of the story."""

    at: float
    """Seconds since the start."""
    level: str
    reason: str
    """Of the Event that the operator would have posted."""
    text: str


class PolicyReport(MessageModel):
    """One policy on the surge."""

    file: str
    policy: str
    """namespace/name"""
    notes: tuple[str, ...]
    figures: Figures
    broken: tuple[str, ...]
    """What `--fail-if` named and did not hold."""
    story: tuple[ToldReport, ...]


class Report(MessageModel):
    """Everything that was rehearsed on one surge."""

    surge: str
    begins: str
    """RFC 3339"""
    seconds: float
    peak: float
    """Requests a second."""
    seed: int
    policies: tuple[PolicyReport, ...]


def report(rehearsed: Sequence[tuple[Rehearsal, Figures, Sequence[str]]]) -> Report:
    """All of them; with each, what it broke."""
    plan = rehearsed[0][0].plan
    return Report(
        surge=plan.surge.source,
        begins=rfc3339(plan.surge.dawn),
        seconds=plan.surge.until,
        peak=plan.surge.peak,
        seed=plan.seed,
        policies=tuple(
            PolicyReport(
                file=one.plan.manifests.name,
                policy=one.plan.policy.key,
                notes=one.plan.manifests.notes,
                figures=figures,
                broken=tuple(broken),
                story=tuple(
                    ToldReport(at=told.at, level=told.level.label, reason=told.reason.value, text=told.text)
                    for told in one.told
                ),
            )
            for one, figures, broken in rehearsed
        ),
    )


def written(whole: Report) -> str:
    """As text; the same bytes for the same rehearsal."""
    return json.dumps(whole.model_dump(by_alias=True, mode="json"), indent=1, ensure_ascii=False) + "\n"
