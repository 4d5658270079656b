"""Promises about nodes, checked on the fleet as it stood after each write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from meltguard.core.fleet import HOMEWARD, Claim, MoveStep
from meltguard.core.units import GpuHours, Instant, Seconds
from meltguard.demo.check.fleet import Fleet, NodeObject, Step

NO_WORK: Final = GpuHours(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One loan of one node, as the writes show it. Instants are None where it did not get that far."""

    node: str
    claimed: Instant
    schedulable: Instant | None  # open to the borrower
    released: Instant | None
    recalled: Instant | None = None  # its way home begins
    drained: bool = False  # work had to leave first
    work_lost: GpuHours = NO_WORK  # since its last checkpoint, as expected at the claim
    victims: tuple[str, ...] = ()  # the work that was broken off

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
            found[held] = replace(found[held], released=step.at)
            del open_on[node.name]
        if claim is None:
            continue
        if claim.move_id not in found:
            found[claim.move_id] = Move(node=node.name, claimed=step.at, schedulable=None, released=None)
            open_on[node.name] = claim.move_id
        found[claim.move_id] = _after(found[claim.move_id], step, claim)
    return tuple(found.values())


def _after(move: Move, step: Step, claim: Claim) -> Move:
    """The move as one more write shows it."""
    if claim.step in {MoveStep.NOTIFIED, MoveStep.DRAINING}:
        move = replace(move, drained=True)
    if claim.drain is not None:
        move = replace(move, work_lost=claim.drain.work_lost, victims=claim.drain.victims)
    if claim.step in HOMEWARD and move.recalled is None:
        move = replace(move, recalled=step.at)
    if claim.step is MoveStep.LENT and not step.changed.spec.unschedulable and move.schedulable is None:
        move = replace(move, schedulable=step.at)
    return move


def lent_seconds(found: Sequence[Move], span: tuple[Instant, Instant]) -> Seconds:
    """For how long, over all loans, nodes were open to the borrower within a span."""
    begin, end = span
    opened = [(move.schedulable, move.released) for move in found if move.schedulable is not None]
    return Seconds(sum(max(0.0, min(end, until or end) - max(begin, since)) for since, until in opened))
