"""Promises about nodes, checked on the fleet as it stood after each write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from meltguard.core.fleet import MoveStep
from meltguard.core.units import Instant, Seconds
from meltguard.demo.check.fleet import Fleet, NodeObject, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One loan of one node, as the writes show it. Instants are None where it did not get that far."""

    node: str
    claimed: Instant
    schedulable: Instant | None  # open to the borrower
    released: Instant | None
    drained: bool = False  # work had to leave first

    @property
    def opening(self) -> Seconds | None:
        """From the claim until the borrower could use it."""
        return None if self.schedulable is None else Seconds(self.schedulable - self.claimed)


def lowest_ready(before: Fleet, story: Sequence[Step], labels: Mapping[str, str]) -> int:
    """The fewest Ready, schedulable, unclaimed nodes that the pool with these labels ever had."""
    fleets = [before, *(step.fleet for step in story)]
    return min(sum(_counts_for_the_floor(node, labels) for node in fleet.values()) for fleet in fleets)


def _counts_for_the_floor(node: NodeObject, labels: Mapping[str, str]) -> bool:
    return node.carries(labels) and node.ready and not node.spec.unschedulable and node.claim is None


def most_loans(before: Fleet, story: Sequence[Step]) -> int:
    """The most nodes that were claimed at one time."""
    fleets = [before, *(step.fleet for step in story)]
    return max(sum(node.claim is not None for node in fleet.values()) for fleet in fleets)


def falling_epochs(before: Fleet, story: Sequence[Step]) -> tuple[str, ...]:
    """Nodes where a write bore a lower epoch than one before it: a leader that was replaced went on writing."""
    highest = {name: node.epoch or 0 for name, node in before.items()}
    fallen: list[str] = []
    for step in story:
        node = step.changed
        known, epoch = highest.get(node.name, 0), node.epoch or 0
        if epoch < known:
            fallen.append(f"{node.name}: epoch {epoch} after {known}")
        highest[node.name] = max(known, epoch)
    return tuple(fallen)


def unreleased(after: Fleet) -> tuple[str, ...]:
    """Nodes that still bear a claim."""
    return tuple(sorted(name for name, node in after.items() if node.claim is not None))


def not_restored(before: Fleet, after: Fleet) -> tuple[str, ...]:
    """Where a node's labels, taints or cordon are not what they were, as sentences; byte by byte."""
    gone = [f"{name} is gone" for name in sorted(before.keys() - after.keys())]
    changed = [
        f"{name}: {part} {was} became {now}"
        for name in sorted(before.keys() & after.keys())
        for part, was, now in _differences(before[name], after[name])
    ]
    return tuple(gone + changed)


def _differences(before: NodeObject, after: NodeObject) -> list[tuple[str, str, str]]:
    shapes = zip(_shape(before), _shape(after), strict=True)
    return [(part, was, now) for (part, was), (_, now) in shapes if was != now]


def _shape(node: NodeObject) -> tuple[tuple[str, str], ...]:
    return (
        ("labels", msgspec.json.encode(dict(sorted(node.metadata.labels.items()))).decode()),
        ("taints", msgspec.json.encode(node.spec.taints).decode()),
        ("cordon", str(node.spec.unschedulable)),
    )


def moves(story: Sequence[Step]) -> tuple[Move, ...]:
    """Every loan, by claim."""
    found: dict[str, Move] = {}
    open_on: dict[str, str] = {}  # node to move id
    for step in story:
        node, claim = step.changed, step.changed.claim
        held = open_on.get(node.name)
        if held is not None and (claim is None or claim.move_id != held):
            found[held] = _with(found[held], released=step.at)
            del open_on[node.name]
        if claim is None:
            continue
        if claim.move_id not in found:
            found[claim.move_id] = Move(node=node.name, claimed=step.at, schedulable=None, released=None)
            open_on[node.name] = claim.move_id
        move = found[claim.move_id]
        if claim.step in {MoveStep.NOTIFIED, MoveStep.DRAINING}:
            move = found[claim.move_id] = replace(move, drained=True)
        if claim.step is MoveStep.LENT and not node.spec.unschedulable and move.schedulable is None:
            found[claim.move_id] = _with(move, schedulable=step.at)
    return tuple(found.values())


def lent_seconds(found: Sequence[Move], span: tuple[Instant, Instant]) -> Seconds:
    """For how long, over all loans, nodes were open to the borrower within a span."""
    begin, end = span
    opened = [(move.schedulable, move.released) for move in found if move.schedulable is not None]
    return Seconds(sum(max(0.0, min(end, until or end) - max(begin, since)) for since, until in opened))


def _with(move: Move, *, schedulable: Instant | None = None, released: Instant | None = None) -> Move:
    return replace(
        move,
        schedulable=schedulable if schedulable is not None else move.schedulable,
        released=released if released is not None else move.released,
    )
