"""S1 and S5 to S10 on each write to a node."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from faults.evidence import CLAIM, EPOCH, Node
from faults.promises import AWAY, CORDON_TAINT, OWNER_MARKS, Finding, Promises, broken
from faults.replay import NodeStep

MANAGED: Final = "meltguard.io/managed"
CLAIM_KEYS: Final = ("policyUid", "moveId", "home", "to", "step", "prior", "stepDeadline", "due")
Check = Callable[[NodeStep, Promises], Iterator[Finding]]


def at_home(fleet: Mapping[str, Node], promises: Promises) -> int:
    """Ready, schedulable, unclaimed nodes of the lender."""
    members = (node for node in fleet.values() if node.labels.get(promises.pool_key) == promises.home)
    return sum(node.ready and not node.cordoned and node.claim is None for node in members)


def _ours(step: NodeStep, promises: Promises) -> bool:
    return step.deed.user == promises.identity


def floor_is_kept(step: NodeStep, promises: Promises) -> Iterator[Finding]:
    """S1: no write of ours takes the lender below its floor."""
    was, now = at_home(step.fleet_before, promises), at_home(step.fleet, promises)
    if _ours(step, promises) and now < was and now < promises.floor:
        yield broken("S1", f"{step.name}: {now} nodes left at home, the floor is {promises.floor}", step.deed)


def nothing_is_driven_out(step: NodeStep, promises: Promises) -> Iterator[Finding]:
    """S2: no NoExecute taint of ours."""
    old = step.before.taints if step.before else ()
    new = [taint for taint in (step.after.taints if step.after else ()) if taint not in old]
    if _ours(step, promises) and any(effect == "NoExecute" for _, _, effect in new):
        yield broken("S2", f"{step.name}: a NoExecute taint was set", step.deed)


def away_is_claimed(step: NodeStep, promises: Promises) -> Iterator[Finding]:
    """S5: a node is away from home if, and only if, it bears one claim that can bring it home."""
    if not _ours(step, promises) or step.after is None:
        return
    node, claim = step.after, step.after.claim
    pool = node.labels.get(promises.pool_key)
    was = step.before.claim if step.before else None
    home = str((claim or was or {}).get("home", promises.home))
    if claim is None:
        if was is not None and pool != home:
            yield broken("S5", f"{node.name} is in pool {pool} without a claim", step.deed)
        return
    missing = [key for key in CLAIM_KEYS if key not in claim]
    if missing or not node.epoch:
        yield broken("S5", f"{node.name}: the claim lacks {', '.join(missing) or 'its epoch'}", step.deed)
    if was is not None and was.get("moveId") != claim.get("moveId"):
        yield broken("S5", f"{node.name}: one claim was written over another", step.deed)
    expected = claim.get("to") if node.step in AWAY else home
    tampered = was is not None and step.before is not None and _misplaced(step.before, promises)
    if pool != expected and not tampered:
        yield broken("S5", f"{node.name} is in pool {pool} at step {node.step}, not in {expected}", step.deed)


def _misplaced(node: Node, promises: Promises) -> bool:
    """Whether a claimed node was not where its step says, before we wrote to it: somebody else moved it."""
    claim = node.claim or {}
    return node.labels.get(promises.pool_key) != claim.get("to" if node.step in AWAY else "home")


def pool_changes_whole(step: NodeStep, promises: Promises) -> Iterator[Finding]:
    """S8: label and taint change in one patch; a schedulable node's label and taint agree."""
    node = step.after
    if node is None or not _ours(step, promises):
        return
    now, then = _pool(node, promises), _pool(step.before, promises) if step.before else None
    label, taints = now
    if now != then and taints != {label}:
        state = "cordoned" if node.cordoned else "schedulable"
        yield broken("S8", f"{node.name} ({state}) has label {label} and taints {sorted(taints)}", step.deed)


def _pool(node: Node, promises: Promises) -> tuple[str | None, set[str]]:
    """What the label and the taints say of the pool."""
    taints = {value for key, value, _ in node.taints if key == promises.pool_key}
    return node.labels.get(promises.pool_key), taints


def loans_are_bounded(step: NodeStep, promises: Promises) -> Iterator[Finding]:
    """S9: no more loans at a time than allowed."""
    count = sum(node.claim is not None for node in step.fleet.values())
    before = sum(node.claim is not None for node in step.fleet_before.values())
    if _ours(step, promises) and count > before and count > promises.max_loans:
        yield broken("S9", f"{step.name}: {count} loans at a time, {promises.max_loans} are allowed", step.deed)


def only_ours_is_touched(step: NodeStep, promises: Promises) -> Iterator[Finding]:
    """S10: only managed nodes, only our keys."""
    if not _ours(step, promises):
        return
    old, new = step.before, step.after
    if old is None or new is None or old.uid != new.uid:
        yield broken("S10", f"{step.name}: we made, deleted or replaced a node", step.deed)
        return
    if old.labels.get(MANAGED) != "true":
        yield broken("S10", f"{step.name} is not managed, yet we wrote to it", step.deed)
    labels = _changed(old.labels, new.labels) - {promises.pool_key}
    allowed = {CLAIM, EPOCH, *OWNER_MARKS}
    notes = {key for key in _changed(old.annotations, new.annotations) if key not in allowed}
    taints = {key for key, _, _ in set(old.taints) ^ set(new.taints)} - {promises.pool_key}
    foreign = sorted(labels | notes | taints)
    if foreign:
        yield broken("S10", f"{step.name}: we changed {', '.join(foreign)}", step.deed)


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}


EACH: Final[tuple[Check, ...]] = (
    floor_is_kept,
    nothing_is_driven_out,
    away_is_claimed,
    pool_changes_whole,
    loans_are_bounded,
    only_ours_is_touched,
)


@dataclass(slots=True)
class Past:
    """What must be remembered of one node."""

    uid: str = ""
    epoch: int = 0
    ours: bool = False  # the cordon that it bears is ours
    home_at: float | None = None
    whole: Node | None = None  # as it was before its claim, with others' changes since
    move: str = ""  # whose claim it bears, or bore until somebody else took it off


def over_time(steps: Sequence[NodeStep], promises: Promises) -> Iterator[Finding]:
    """S6, S7 and the rest of S9 and S10: what needs a node's past."""
    past: dict[str, Past] = {}
    for step in steps:
        before = past.get(step.name)
        if step.after is None:
            past.pop(step.name, None)
            continue
        if before is None or before.uid != step.after.uid:
            before = Past(uid=step.after.uid, epoch=step.before.epoch if step.before else 0)
            past[step.name] = before
        yield from _later(step, before, promises)


def _later(step: NodeStep, past: Past, promises: Promises) -> Iterator[Finding]:
    node, was = step.after, step.before
    if node is None:
        return
    if node.epoch < past.epoch:
        yield broken("S7", f"{node.name}: epoch {node.epoch} after {past.epoch}", step.deed)
    past.epoch = max(past.epoch, node.epoch)
    if was is None:
        return
    if not _ours(step, promises):
        past.ours = past.ours and node.cordoned
        past.whole = past.whole and followed(past.whole, was, node, promises.pool_key)
        return
    yield from _cordon(step, past)
    if was.claim is None and node.claim is not None and not is_put_back(step, past.move):
        yield from _taken(step, past, promises)
        past.whole, past.move = was, move_of(node)
    if was.claim is not None and node.claim is None:
        past.home_at = step.deed.at
        yield from _restored(step, past)
        past.whole, past.move = None, ""


def move_of(node: Node | None) -> str:
    """The move that a node is in; "" where it bears no claim."""
    return str((node.claim or {}).get("moveId", "")) if node else ""


def is_put_back(step: NodeStep, move: str) -> bool:
    """Whether a claim that somebody else took off is written again, and nothing else: no new loan, nothing opened."""
    node, was = step.after, step.before
    if node is None or was is None or was.claim is not None or not move or move_of(node) != move:
        return False
    return (node.labels, node.taints, node.cordoned) == (was.labels, was.taints, was.cordoned)


def _cordon(step: NodeStep, past: Past) -> Iterator[Finding]:
    """S6: we uncordon only what we cordoned."""
    was, node = step.before, step.after
    if was is None or node is None or was.cordoned == node.cordoned:
        return
    if was.cordoned and not past.ours:
        yield broken("S6", f"{node.name}: we took off a cordon that is not ours", step.deed)
    past.ours = node.cordoned


def _taken(step: NodeStep, past: Past, promises: Promises) -> Iterator[Finding]:
    """S9: a node that came home rests."""
    rested = promises.rest if past.home_at is None else step.deed.at - past.home_at
    if rested < promises.rest:
        text = f"{step.name} was claimed {rested:.0f} s after it came home, it rests {promises.rest:.0f} s"
        yield broken("S9", text, step.deed)


def followed(whole: Node, was: Node, node: Node, pool_key: str) -> Node:
    """The node as it was before its claim, with what somebody else has changed since; its pool stays its home's."""
    taints = tuple(t for t in whole.taints if t not in was.taints or t in node.taints or t[0] == pool_key)
    added = tuple(t for t in node.taints if t not in was.taints and t not in taints and t[0] != pool_key)
    return Node(
        name=node.name,
        uid=node.uid,
        version=node.version,
        labels={**_carried(whole.labels, was.labels, node.labels), pool_key: whole.labels.get(pool_key, "")},
        annotations=_carried(whole.annotations, was.annotations, node.annotations),
        taints=taints + added,
        cordoned=node.cordoned if was.cordoned != node.cordoned else whole.cordoned,
        ready=node.ready,
    )


def _carried(whole: Mapping[str, str], was: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    changed = _changed(was, now)
    kept = {key: value for key, value in whole.items() if key not in changed}
    return {**kept, **{key: now[key] for key in changed if key in now}}


def _restored(step: NodeStep, past: Past) -> Iterator[Finding]:
    """S6: after a round trip the node is as it was found."""
    node, whole = step.after, past.whole
    if node is None or whole is None:
        return
    for part, found, left in differences(whole, node):
        yield broken("S6", f"{node.name}: {part} was {found} and is {left} after the loan", step.deed)


def differences(found: Node, left: Node) -> Iterator[tuple[str, str, str]]:
    """Where two looks at one node differ; Kubernetes' own cordon taint goes with the cordon and is not compared."""
    pairs = (
        ("labels", found.labels, left.labels),
        ("annotations", _foreign(found), _foreign(left)),
        ("taints", _taints(found), _taints(left)),
        ("cordon", found.cordoned, left.cordoned),
    )
    return ((part, str(was), str(now)) for part, was, now in pairs if was != now)


def _foreign(node: Node) -> dict[str, str]:
    return {key: value for key, value in node.annotations.items() if key not in {CLAIM, EPOCH}}


def _taints(node: Node) -> tuple[tuple[str, str, str], ...]:
    return tuple(taint for taint in node.taints if taint[0] != CORDON_TAINT)
