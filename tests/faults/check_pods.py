"""S2 to S4, S8 and S10 about pods."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from faults.check_nodes import is_put_back, move_of
from faults.evidence import Deed
from faults.promises import ASKED, DELETION_COST, EVICT_AFTER, HOMEWARD, SAVED, Finding, Promises, broken
from faults.replay import NodeStep, Stay
from meltguard.clock import parse_rfc3339

RELABELLING = frozenset({"Relabelled", "Restored"})
STAMP_SLACK = 2.0
"""Seconds by which a written time may differ from the writing."""


def nothing_is_deleted(deeds: Sequence[Deed], promises: Promises) -> Iterator[Finding]:
    """S2: we never delete a pod, nor try to."""
    for deed in deeds:
        if deed.user == promises.identity and deed.ref.resource == "pods" and deed.verb.startswith("delete"):
            yield broken("S2", f"we deleted pod {deed.ref.namespace}/{deed.ref.name}", deed)


def _evictions(deeds: Sequence[Deed], promises: Promises) -> Iterator[tuple[Deed, str]]:
    """Ours, each with the uid that it names."""
    for deed in deeds:
        if deed.user == promises.identity and deed.about("pods", "eviction"):
            options = (deed.asked or {}).get("deleteOptions") or {}
            yield deed, str((options.get("preconditions") or {}).get("uid") or "")


def evictions_name_their_pod(deeds: Sequence[Deed], promises: Promises) -> Iterator[Finding]:
    """S3: every eviction carries the uid, and at most one a uid is accepted."""
    done: set[str] = set()
    for deed, uid in _evictions(deeds, promises):
        if not uid:
            yield broken("S3", f"eviction of {deed.ref.namespace}/{deed.ref.name} without its uid", deed)
        if deed.accepted and uid in done:
            yield broken("S3", f"pod {deed.ref.namespace}/{deed.ref.name} was evicted twice", deed)
        if deed.accepted:
            done.add(uid)


def evictions_follow_notice(
    deeds: Sequence[Deed], stays: Mapping[str, Stay], steps: Sequence[NodeStep], promises: Promises
) -> Iterator[Finding]:
    """S4: a lender's pod is evicted when its notice has run out, or it has answered that its work is saved."""
    notes = _notes(deeds)
    for deed, uid in _evictions(deeds, promises):
        stay = stays.get(uid)
        if not promises.notice_due or not deed.accepted or stay is None:
            continue
        if _step_of(steps, stay.pod.node, deed.at) in HOMEWARD or promises.service.items() <= stay.pod.labels.items():
            continue  # on the way home the borrower's pods leave
        why = _too_early(deed, notes.get((stay.pod.namespace, stay.pod.name), []), promises)
        if why:
            yield broken("S4", f"pod {stay.pod.namespace}/{stay.pod.name}: {why}", deed)


def _notes(deeds: Sequence[Deed]) -> dict[tuple[str, str], list[tuple[float, dict[str, str]]]]:
    """Each pod's annotations over time."""
    found: dict[tuple[str, str], list[tuple[float, dict[str, str]]]] = {}
    for deed in deeds:
        if deed.accepted and deed.about("pods", "", "status") and isinstance(deed.after, dict):
            metadata: dict[str, Any] = deed.after.get("metadata") or {}
            notes = metadata.get("annotations") or {}
            found.setdefault((deed.ref.namespace, str(metadata.get("name", ""))), []).append((deed.at, notes))
    return found


def _step_of(steps: Sequence[NodeStep], node: str, at: float) -> str:
    """A node's step at a time."""
    last = ""
    for step in steps:
        if step.name == node and step.deed.at <= at:
            last = step.after.step if step.after else ""
    return last


def _too_early(deed: Deed, notes: Sequence[tuple[float, dict[str, str]]], promises: Promises) -> str:
    """Why the eviction came too early; "" where it did not."""
    told = [(at, texts) for at, texts in notes if at <= deed.at and ASKED in texts]
    if not told:
        return "evicted without a notice"
    first, texts = told[0][0], told[-1][1]
    asked, after = _instant(texts.get(ASKED, "")), _instant(texts.get(EVICT_AFTER, ""))
    if asked is None or after is None:
        return f"its notice cannot be read: {texts.get(ASKED)!r}, {texts.get(EVICT_AFTER)!r}"
    saved = _instant(texts.get(SAVED, ""))
    if saved is not None and saved >= asked - STAMP_SLACK:
        return ""
    if first - asked > STAMP_SLACK:
        return f"its notice says {first - asked:.0f} s earlier than it was written"
    if after < asked + promises.notice - 1.0:  # written to the second
        return f"its notice is {after - asked:.0f} s long, {promises.notice:.0f} s are promised"
    return "" if deed.at >= after else f"evicted {after - deed.at:.1f} s before its notice ran out"


def _instant(text: str) -> float | None:
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None


def nobody_is_there(steps: Sequence[NodeStep], stays: Mapping[str, Stay], promises: Promises) -> Iterator[Finding]:
    """S8: labels change, and a node opens to its borrower, only with no movable pod bound. Terminating ones count."""
    moves: dict[str, str] = {}  # of each node, until we end it ourselves
    for step in steps:
        node, was = step.after, step.before
        ours, known = step.deed.user == promises.identity, moves.get(step.name, "")
        moves[step.name] = move_of(node) or ("" if ours else known)
        if node is None or was is None or not ours or is_put_back(step, known):
            continue
        relabelled = was.labels.get(promises.pool_key) != node.labels.get(promises.pool_key)
        opened = node.step == "Lent" and was.step != "Lent"
        if not (relabelled or opened):
            continue
        for stay in _bound(stays, step, promises):
            what = "relabelled" if relabelled else "opened"
            pod = f"{stay.pod.namespace}/{stay.pod.name}"
            yield broken("S8", f"{step.name} was {what} while {pod} was bound to it", step.deed)


def _bound(stays: Mapping[str, Stay], step: NodeStep, promises: Promises) -> list[Stay]:
    """Pods that surely were on the node, since long enough to be known."""
    return [
        stay
        for stay in stays.values()
        if stay.pod.node == step.name
        and stay.pod.movable
        and stay.since < step.deed.asked_at - promises.bind_lag
        and stay.until > step.deed.at
    ]


def only_notices_are_written(deeds: Sequence[Deed], promises: Promises) -> Iterator[Finding]:
    """S10: of a pod we write our own annotations and its deletion cost, nothing else."""
    for deed in deeds:
        if deed.user != promises.identity or not deed.about("pods") or not isinstance(deed.asked, dict):
            continue
        metadata = deed.asked.get("metadata") or {}
        notes = metadata.get("annotations") or {}
        foreign = [key for key in notes if not key.startswith("meltguard.io/") and key != DELETION_COST]
        foreign += [key for key in metadata if key not in {"annotations", "uid", "name", "namespace"}]
        foreign += [key for key in deed.asked if key not in {"metadata", "apiVersion", "kind"}]
        if foreign and deed.verb == "patch":
            yield broken("S10", f"pod {deed.ref.namespace}/{deed.ref.name}: we wrote {', '.join(foreign)}", deed)
