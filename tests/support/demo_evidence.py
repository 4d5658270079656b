"""Made-up evidence for the demo's checker: nodes, writes and journal lines as the API server and agents leave them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from meltguard.agent.journal import JournalEntry
from meltguard.api.claim import write_claim
from meltguard.core.fleet import CLAIM_ANNOTATION, EPOCH_ANNOTATION, Change, Claim, MoveStep, Prior
from meltguard.core.policy import Taint
from meltguard.core.units import Instant, PoolName, Seconds
from meltguard.demo.check.audit import Ref, Write
from meltguard.demo.check.fleet import NodeObject, decode_node

OURS = "system:serviceaccount:meltguard-system:meltguard"
RESEARCH = {"workload": "research"}
RESEARCH_TAINT = {"key": "workload", "value": "research", "effect": "NoSchedule"}


def a_claim(move: str = "m1", step: MoveStep = MoveStep.CLAIMED) -> Claim:
    taint = Taint(key="workload", value="research", effect="NoSchedule")
    return Claim(
        move_id=move,
        policy="serving/image-gen",
        policy_uid="u",
        home=PoolName("research"),
        to=PoolName("inference"),
        step=step,
        since=Instant(0.0),
        step_deadline=Instant(60.0),
        due=Instant(3600.0),
        prior=Prior(labels={"workload": "research"}, taints=(taint,), unschedulable=False, annotations={}),
        change=Change(labels={"workload": "inference"}, taints_off=(taint,), taints_on=()),
    )


def node_json(name: str, version: int, /, **changes: Any) -> dict[str, Any]:
    """Changes: labels, taints, unschedulable, ready, claim (Claim), epoch (int)."""
    claim: Claim | None = changes.get("claim")
    annotations = {CLAIM_ANNOTATION: write_claim(claim)} if claim else {}
    if "epoch" in changes:
        annotations[EPOCH_ANNOTATION] = str(changes["epoch"])
    taints = changes.get("taints", [RESEARCH_TAINT])
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": changes.get("labels", RESEARCH),
            "annotations": annotations,
        },
        "spec": {"taints": taints, "unschedulable": changes.get("unschedulable", False)},
        "status": {"conditions": [{"type": "Ready", "status": "True" if changes.get("ready", True) else "False"}]},
    }


def a_node(name: str, version: int = 1, /, **changes: Any) -> NodeObject:
    return decode_node(msgspec.json.encode(node_json(name, version, **changes)))


def fleet(*nodes: NodeObject) -> Mapping[str, NodeObject]:
    return {node.name: node for node in nodes}


def node_write(at: float, name: str, version: int, /, **changes: Any) -> Write:
    body = msgspec.json.encode(node_json(name, version, **changes))
    return a_write(at, "patch", Ref(resource="nodes", name=name), after=body)


def a_write(at: float, verb: str, ref: Ref, **rest: Any) -> Write:
    made = Write(at=Instant(at), user=OURS, verb=verb, ref=ref, code=200, asked=b"", after=b"")
    return replace(made, **rest)


def an_eviction(at: float, name: str, uid: str = "", code: int = 201) -> Write:
    body = {"deleteOptions": {"preconditions": {"uid": uid}}} if uid else {"deleteOptions": {}}
    ref = Ref(resource="pods", subresource="eviction", namespace="research", name=name)
    return a_write(at, "create", ref, asked=msgspec.json.encode(body), code=code)


def an_entry(at: float, **changes: Any) -> JournalEntry:
    made = JournalEntry(
        at=Instant(at),
        pod="p1",
        tier="free",
        user="free-1",
        images=1,
        units=1.0,
        verdict="admitted",
        reason="",
        would_refuse="",
        wait=Seconds(0.0),
        took=Seconds(2.0),
        status=200,
        delivered=True,
        source="Lease",
        epoch=1,
        revision=1,
        state="Open",
        rate=None,
    )
    return replace(made, **changes)


def refused(at: float, reason: str, **changes: Any) -> JournalEntry:
    return an_entry(at, verdict="refused", reason=reason, delivered=False, status=503, took=Seconds(0.0), **changes)


def audit_lines(events: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(event) + b"\n" for event in events)
