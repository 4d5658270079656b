"""The story of a run, step by step: what happened, when, at which level, and why, in the operator's own words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from meltguard.core.units import Instant
from meltguard.demo.check.cards import HotGpu, SlowPod
from meltguard.demo.check.decisions import Decided, first_of, last_of
from meltguard.demo.check.policy import Told
from meltguard.demo.checker import Findings
from meltguard.demo.facts import RunFacts
from meltguard.demo.plan import FREE


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One promised step."""

    text: str
    at: Instant | None  # None: it did not happen
    why: str = ""

    def as_json(self, surge_at: Instant, statuses: Sequence[Told]) -> dict[str, Any]:
        """As the report has it; `at` in seconds from the start of the surge."""
        done = self.at is not None
        return {
            "step": self.text,
            "done": done,
            "at": since(self.at, surge_at),
            "level": level_at(statuses, self.at) if done else None,
            "why": self.why if done else "",
        }


def story(found: Findings, facts: RunFacts) -> list[dict[str, Any]]:
    """Each promised step: done or not, when, at which level, and why."""
    parts = (_rise, _lending, _people, _ebb, _cards)
    return [step.as_json(facts.surge_at, found.statuses) for part in parts for step in part(found, facts)]


def level_at(statuses: Sequence[Told], at: Instant | None) -> str | None:
    """The level that the last status before then told; None where none had told one."""
    told = [one.status.level for one in statuses if at is not None and one.at <= at and one.status.level]
    return told[-1] if told else None


def since(at: Instant | None, start: Instant) -> float | None:
    """Seconds from the start of the surge."""
    return None if at is None else round(at - start, 2)


def _rise(found: Findings, facts: RunFacts) -> Iterator[Step]:
    times, ladder, said = found.timeline, found.ladder, found.decisions
    ships = facts.act("ships")
    yield Step(
        text="the GPUs cannot keep up: work queues beyond the wait target",
        at=times.overload_seen or times.first_limit,
        why=_said(first_of(said, "LevelChanged")),
    )
    yield Step(text="the new feature is slowed", at=ladder.feature_slowed, why=_said(first_of(said, "FeatureSlowed")))
    yield Step(text="updates of the service are held", at=ladder.updates_held, why=_said(first_of(said, "RolloutHeld")))
    yield Step(
        text="the free tier is limited on the serving pods",
        at=ladder.first_limits.get(FREE),
        why=_said(first_of(said, "TierLimited", "tier free")),
    )
    yield Step(
        text="a developer ships a version all the same: it waits",
        at=ships.at if ships else None,
        why=ships.text if ships else "",
    )
    if ladder.update_tried is not None:  # whether there is time for it depends on the surge
        yield Step(
            text="it is tried on one pod: does it make images cheaper?",
            at=ladder.update_tried,
            why=_said(first_of(said, "UpdateTried")),
        )


def _lending(found: Findings, facts: RunFacts) -> Iterator[Step]:
    del facts
    times, said = found.timeline, found.decisions
    first = min(found.moves, key=lambda move: move.claimed, default=None)
    broken = next((move for move in found.moves if move.drained), None)
    yield Step(text="an idle research node is claimed", at=times.first_claim, why=_said(first_of(said, "NodeBorrowed")))
    yield Step(
        text="it is schedulable for inference", at=times.first_schedulable, why=_said(first_of(said, "NodeLent"))
    )
    waited = "" if first is None or times.first_serving is None else f"{times.first_serving - first.claimed:.0f} s"
    yield Step(
        text="it serves images", at=times.first_serving, why=f"{waited} after its claim, its pods have loaded the model"
    )
    yield Step(
        text="training that was told saves its work and leaves",
        at=found.ladder.first_eviction,
        why="" if broken is None else _said(first_of(said, "NodeBorrowed", broken.node)),
    )
    yield Step(
        text="its node is schedulable for inference",
        at=times.first_drained_open,
        why="" if broken is None else _said(first_of(said, "NodeLent", broken.node)),
    )


def _people(found: Findings, facts: RunFacts) -> Iterator[Step]:
    ladder, said, killed = found.ladder, found.decisions, facts.act("killed")
    yield Step(
        text="a person suspends the free tier for a while",
        at=ladder.override_began,
        why=_said(first_of(said, "OverrideBegun")),
    )
    yield Step(text="that override ends by itself", at=ladder.override_ended, why=_said(last_of(said, "OverrideEnded")))
    yield Step(text="the operator is killed", at=killed.at if killed else None, why=killed.text if killed else "")
    after = next((one for one in found.statuses if one.at == ladder.next_term), None)
    yield Step(text="another term goes on where it stopped", at=ladder.next_term, why=after.status.why if after else "")


def _ebb(found: Findings, facts: RunFacts) -> Iterator[Step]:
    del facts
    times, ladder, said = found.timeline, found.ladder, found.decisions
    yield Step(
        text="the limits are lifted",
        at=None if times.limits_lifted is None else ladder.limits_lifted,
        why=_said(last_of(said, "TierLifted", "tier free")),
    )
    yield Step(
        text="the new feature is whole again",
        at=ladder.feature_restored,
        why=_said(last_of(said, "FeatureRestored")),
    )
    yield Step(
        text="updates go on, and the shipped version runs",
        at=ladder.updates_resumed if found.updated else None,
        why=_said(last_of(said, "RolloutResumed")),
    )
    yield Step(text="every node is home", at=times.all_home, why=_said(last_of(said, "NodeRecalled")))


def _cards(found: Findings, facts: RunFacts) -> Iterator[Step]:
    """The two cards that are not as they should be."""
    del facts
    hot, slow = found.hot_gpu, found.slow_pod
    yield Step(
        text="a badly cooled GPU counts for less",
        at=None if hot is None else hot.since,
        why="" if hot is None else _hot(hot),
    )
    yield Step(
        text="a slow pod, which no sensor shows, has taken less work than its peers until now",
        at=None if slow is None else slow.until,
        why="" if slow is None else _slow(slow),
    )


def _hot(hot: HotGpu) -> str:
    return (
        f"{hot.node} has a GPU that came to {hot.hottest:.0f} C, the service's other nodes to {hot.others:.0f} C: the "
        f"limit documents of its pods counted on {hot.counted:.0%} of their GPUs, those of the others on "
        f"{hot.others_counted:.0%}"
    )


def _slow(slow: SlowPod) -> str:
    return (
        f"{slow.pod.name} on {slow.pod.node} makes {slow.pace:.0f} image units in a minute of its GPU's time, a peer "
        f"{slow.peers_pace:.0f}; who is busy gets no new request, so it took {slow.requests}, a peer "
        f"{slow.peers_requests:.0f}"
    )


def _said(one: Decided | None) -> str:
    return "" if one is None else one.text
