"""The one checker: a run's audit log against S1 to S11 and L2; `endings` has what is seen only at the end."""

from collections.abc import Iterator, Sequence

from faults import check_pods
from faults.check_nodes import EACH, over_time
from faults.evidence import Deed
from faults.promises import Evidence, Finding, Promises, broken
from faults.replay import NodeStep, node_steps, pod_stays
from meltguard.clock import parse_rfc3339

EPOCH_LAG = 0.3
"""Seconds; the API server's policies learn of a Lease that changed a moment later."""


def check(evidence: Evidence, promises: Promises) -> tuple[Finding, ...]:
    """Every promise that was broken, in the order of time. Empty: none."""
    steps = tuple(node_steps(evidence.nodes, evidence.deeds))
    return tuple(sorted(_all(evidence, steps, promises), key=_when))


def _when(finding: Finding) -> float:
    return finding.at


def _all(evidence: Evidence, steps: Sequence[NodeStep], promises: Promises) -> Iterator[Finding]:
    for step in steps:
        for rule in EACH:
            yield from rule(step, promises)
    yield from over_time(steps, promises)
    deeds = evidence.deeds
    stays = pod_stays(evidence.pods, deeds)
    yield from check_pods.nothing_is_deleted(deeds, promises)
    yield from check_pods.evictions_name_their_pod(deeds, promises)
    yield from check_pods.evictions_follow_notice(deeds, stays, steps, promises)
    yield from check_pods.nobody_is_there(steps, stays, promises)
    yield from check_pods.only_notices_are_written(deeds, promises)
    yield from current_term_writes(deeds, steps, promises)
    yield from nothing_refused(deeds, promises)
    yield from no_borrow_in_the_dark(steps, promises)
    yield from cordons_are_claimed(steps, promises)
    yield from claims_end(steps, promises)


def current_term_writes(deeds: Sequence[Deed], steps: Sequence[NodeStep], promises: Promises) -> Iterator[Finding]:
    """S7: an accepted write of ours bears the epoch of the Lease as it stands; a lower one is refused by the server."""
    terms = [
        (deed.at, int(deed.after["spec"].get("leaseTransitions") or 0))
        for deed in deeds
        if deed.accepted and deed.about("leases") and isinstance(deed.after, dict) and "spec" in deed.after
    ]
    for step in steps:
        if step.deed.user != promises.identity or step.after is None:
            continue
        known = [term for at, term in terms if at < step.deed.asked_at - EPOCH_LAG]
        if known and step.after.epoch < known[-1]:
            text = f"{step.name}: epoch {step.after.epoch} was written while the Lease is at {known[-1]}"
            yield broken("S7", text, step.deed)


def nothing_refused(deeds: Sequence[Deed], promises: Promises) -> Iterator[Finding]:
    """S10: what admission must refuse, we do not even try. A fenced write is no mistake: it is the fence at work."""
    for deed in deeds:
        refused = (
            deed.user == promises.identity and deed.code in {403, 422} and "ValidatingAdmissionPolicy" in deed.said
        )
        if refused and "meltguard-fence" not in deed.said:
            yield broken("S10", f"{deed.verb} {deed.ref.resource} {deed.ref.name} had to be refused: {deed.said}", deed)


def no_borrow_in_the_dark(steps: Sequence[NodeStep], promises: Promises) -> Iterator[Finding]:
    """S11: while a signal is not to be trusted, nothing is borrowed."""
    for step in steps:
        claimed = step.after is not None and step.after.claim is not None
        fresh = claimed and (step.before is None or step.before.claim is None)
        if fresh and any(begin <= step.deed.asked_at <= end for begin, end in promises.untrusted):
            yield broken("S11", f"{step.name} was borrowed while the signals said nothing", step.deed)


def cordons_are_claimed(steps: Sequence[NodeStep], promises: Promises) -> Iterator[Finding]:
    """L2: no cordon of ours without a claim."""
    for step in steps:
        node, was = step.after, step.before
        ours = node is not None and was is not None and step.deed.user == promises.identity
        if ours and node and was and node.cordoned and node.claim is None and not was.cordoned:
            yield broken("L2", f"{node.name} was cordoned without a claim", step.deed)


def claims_end(steps: Sequence[NodeStep], promises: Promises) -> Iterator[Finding]:
    """L2: an outward step ends by its own deadline, a loan by its promised return; slack is for the faults."""
    last: dict[str, NodeStep] = {}
    for step in steps:
        before = last.get(step.name)
        if before is not None and before.after is not None and before.after.claim:
            ends = _deadline(before.after.claim)
            if ends is not None and step.deed.at > ends + promises.step_slack:
                late = step.deed.at - ends
                text = f"{step.name} stayed at {before.after.step} for {late:.0f} s beyond its deadline"
                yield broken("L2", text, step.deed)
        if step.deed.user == promises.identity or before is None or step.after is None:
            last[step.name] = step


def _deadline(claim: dict[str, object]) -> float | None:
    """When the present step must have been left."""
    value = claim.get("due" if claim.get("step") == "Lent" else "stepDeadline")
    if isinstance(value, int | float):
        return float(value)
    try:
        return parse_rfc3339(str(value))
    except ValueError:
        return None
