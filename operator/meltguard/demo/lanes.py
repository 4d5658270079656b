"""The decisions of a run as lanes on one time axis: what held when, and a number for each change."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Final

from matplotlib.axes import Axes

from meltguard.core.units import Instant
from meltguard.demo.check.decisions import Decided
from meltguard.demo.check.nodes import Move
from meltguard.demo.check.policy import Told
from meltguard.demo.checker import Findings
from meltguard.demo.facts import RunFacts

LEVELS: Final = {"Normal": "#e5f5e0", "Elevated": "#fff3d6", "Overloaded": "#ffd9b3", "Critical": "#f7a899"}
CALM, MILD, HARD, HARDEST, QUIET = "#e5f5e0", "#fdd49e", "#fc8d59", "#d7301f", "#d9d9d9"
STATES: Final = {"Open": CALM, "Delay": MILD, "Reject": HARD, "Suspend": HARDEST}
UPDATES: Final = {"free": CALM, "held": HARD, "tried on one pod": "#9ecae1", "the cheaper one goes on": "#9ecae1"}
UPDATE_WORDS: Final = {
    "Free": "free",
    "Held": "held",
    "Trying": "tried on one pod",
    "Promoted": "the cheaper one goes on",
}
LENDING: Final = {"arriving": QUIET, "lent": "#f4a582", "going home": "#92c5de"}
PEOPLE: Final = "people, accidents"
OTHER: Final = "other news"
"""Such as a metric that is not known for long: drawn only where there is some."""

LANES: Final = {
    "LevelChanged": "level",
    "Feature": "feature",
    "Rollout": "updates",
    "UpdateTried": "updates",
    "Override": PEOPLE,
}
"""By how an Event's reason begins."""

ACTS: Final = {"ships": "ships", "killed": "operator killed"}
"""What is marked beside decisions; an override is a decision itself."""

LEAST_LABEL: Final = 0.0075
"""Of the time axis, that one letter of a label takes."""

APART: Final = 0.0135
"""Of the time axis, from one number to the next on the same lane."""

FOR_WHOM: Final = re.compile(r" for [a-z0-9-]+/[a-z0-9-]+")
"""There is one policy only."""

GOES_HOME: Final = re.compile(r"; it goes home once .*?(?=: it relieves|$)")
"""When a loan ends is in the report; what it relieves comes after it."""

WORDS: Final = 102
"""Letters of a line of the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time in which something held."""

    begin: float  # seconds from the start of the surge
    end: float
    label: str
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One row."""

    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """One decision, or one act of people, with its number."""

    number: int
    at: float
    lane: str
    text: str
    name: str = ""  # of an act, in a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What is drawn of a run."""

    lanes: tuple[Lane, ...]
    marks: tuple[Numbered, ...]


def decisions_of(found: Findings, facts: RunFacts, until: float) -> Decisions:
    """The lanes up to `until`, and every decision on its lane, numbered in the order of time."""
    made = [(one.at, lane_of(one), short(one), "") for one in found.decisions]
    acts = [
        (mark.at, PEOPLE, f"{ACTS[mark.name]}: {mark.text}", ACTS[mark.name])
        for mark in facts.acts
        if mark.name in ACTS
    ]
    told = sorted([*made, *acts], key=_time)
    marks = tuple(
        Numbered(number=number, at=at - facts.surge_at, lane=lane, text=text, name=name)
        for number, (at, lane, text, name) in enumerate(told, start=1)
    )
    lanes = tuple(_lanes(found, facts.surge_at, until))
    return Decisions(lanes=lanes, marks=marks)


def _time(one: tuple[Instant, str, str, str]) -> Instant:
    return one[0]


def lane_of(one: Decided) -> str:
    """Where a decision belongs."""
    words = one.text.replace(":", "").split()
    if one.reason.startswith("Tier"):
        return f"{words[1]} tier"
    if one.reason == "LoanEnded":
        return words[3]  # the loan of NODE by POOL is over
    if one.reason in {"NodeBorrowed", "NodeLent", "NodeRecalled", "NodeReturned"}:
        return words[0]
    return next((name for kind, name in LANES.items() if one.reason.startswith(kind)), OTHER)


def short(one: Decided) -> str:
    """The first part of its words: what and why; when it lifts is in the report."""
    text = one.text
    if one.reason == "LevelChanged":
        text = "level " + text.split(";")[0]
    if one.reason == "UpdateTried":
        text = text.split("; ", 1)[-1]
    for tail in ("; it lifts when", "; they go on when"):
        text = text.split(tail)[0]
    return GOES_HOME.sub("", FOR_WHOM.sub("", text))


def _lanes(found: Findings, start: Instant, until: float) -> Iterator[Lane]:
    statuses = found.statuses

    def lane(name: str, value: Callable[[Told], str], colours: Callable[[str], str]) -> Lane:
        seen = [(one.at - start, value(one)) for one in statuses]
        return Lane(name=name, spans=tuple(_spans(seen, until, colours)))

    yield lane("level", _level, lambda label: LEVELS.get(label, QUIET))
    yield lane(PEOPLE, _words, lambda label: HARDEST if label else "none")
    yield lane("feature", _feature, lambda label: CALM if label in {"", "100%"} else MILD)
    yield lane("updates", _updates, lambda label: UPDATES.get(label, QUIET))
    for tier in ("free", "plus", "pro"):
        yield lane(f"{tier} tier", _state_of(tier), lambda label: STATES.get(label, QUIET))
    if any(lane_of(one) == OTHER for one in found.decisions):
        yield Lane(name=OTHER, spans=())
    for node in dict.fromkeys(move.node for move in found.moves):
        spans = [span for move in found.moves if move.node == node for span in _loan(move, start, until)]
        yield Lane(name=node, spans=tuple(spans))


def _level(one: Told) -> str:
    return one.status.level


def _words(one: Told) -> str:
    return ", ".join(word.sets for word in one.status.overrides)


def _feature(one: Told) -> str:
    return next((feature.rollout for feature in one.status.features), "")


def _updates(one: Told) -> str:
    return UPDATE_WORDS.get(one.status.rollouts.state, one.status.rollouts.state)


def _state_of(tier: str) -> Callable[[Told], str]:
    return lambda one: one.limit(tier).state


def _spans(seen: Sequence[tuple[float, str]], until: float, colour: Callable[[str], str]) -> Iterator[Span]:
    """Neighbours that say the same are one."""
    turns = [(at, label) for i, (at, label) in enumerate(seen) if i == 0 or seen[i - 1][1] != label]
    ends = [*(at for at, _ in turns[1:]), until]
    for (begin, label), end in zip(turns, ends, strict=False):  # without any turn there is an end all the same
        yield Span(begin=begin, end=end, label=label, colour=colour(label))


def _loan(move: Move, start: Instant, until: float) -> Iterator[Span]:
    points = [
        ("arriving", move.claimed),
        ("lent", move.schedulable),
        ("going home", move.recalled),
    ]
    known = [(label, at - start) for label, at in points if at is not None]
    ends = [*(at for _, at in known[1:]), until if move.released is None else move.released - start]
    for (label, begin), end in zip(known, ends, strict=True):
        yield Span(begin=begin, end=end, label=label, colour=LENDING[label])


def draw_lanes(axis: Axes, made: Decisions, span: tuple[float, float]) -> None:
    """The lanes from top to bottom, each with its numbers above its bar."""
    begin, end = span
    wide = end - begin
    for row, lane in enumerate(made.lanes):
        _bars(axis, lane, (row, wide, begin))
        _numbers(axis, [mark for mark in made.marks if mark.lane == lane.name], (row, wide))
    axis.set_ylim(len(made.lanes) - 0.05, -0.55)
    axis.set_yticks(range(len(made.lanes)), [lane.name for lane in made.lanes])
    axis.tick_params(axis="y", length=0)
    axis.set_title("What was decided (numbers: see the key below)", loc="left", fontsize=11)


def _bars(axis: Axes, lane: Lane, place: tuple[int, float, float]) -> None:
    row, wide, begin = place
    for one in lane.spans:
        left = max(begin, one.begin)
        axis.barh(row + 0.18, one.end - left, left=left, height=0.36, color=one.colour, edgecolor="white")
        if one.end - left > LEAST_LABEL * wide * len(one.label):
            axis.text((left + one.end) / 2, row + 0.19, one.label, ha="center", va="center", fontsize=8, clip_on=True)


def _numbers(axis: Axes, marks: Sequence[Numbered], place: tuple[int, float]) -> None:
    """Each at its time, or as far to the right of it as the one before it asks for, with a line to its time."""
    row, wide = place
    for mark, at in zip(marks, spread([mark.at for mark in marks], APART * wide), strict=True):
        axis.plot([mark.at, at], [row + 0.0, row - 0.14], color="#404040", linewidth=0.7, solid_capstyle="round")
        axis.text(
            at,
            row - 0.26,
            f"{mark.number} {mark.name}".strip(),
            clip_on=True,
            ha="left" if mark.name else "center",
            va="center",
            fontsize=8,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "#404040", "linewidth": 0.6},
        )


def spread(times: Sequence[float], apart: float) -> list[float]:
    """Places in the same order, none nearer than `apart` to the one before it.

    >>> spread([1.0, 1.0, 9.0], 2.0)
    [1.0, 3.0, 9.0]
    """
    places: list[float] = []
    for at in times:
        places.append(max(at, places[-1] + apart) if places else at)
    return places


def key(marks: Sequence[Numbered]) -> tuple[str, str]:
    """Two columns of numbered lines, in the order of time down each."""
    lines = [f"{mark.number:2} {mark.at:6.1f} s  {shorten(mark.text, WORDS, placeholder=' ...')}" for mark in marks]
    half = (len(lines) + 1) // 2
    return "\n".join(lines[:half]), "\n".join(lines[half:])
