"""Rows 30 to 50 of the fault matrix: what others do to nodes, pods and policies in the middle of a move."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from faults import meddling as do
from faults import world
from faults.cases import AFTER, BEFORE, POD_WATCH, at
from faults.promises import Promises
from faults.rest import path_of
from faults.rules import Hit, Rule, Twist, TwistEvents
from faults.scenario import NODES, Case, Stage
from faults.setting import until

GARBAGE: Final = '{"version": 99, "step": "Sideways"}'
ANNOTATED: Final = "metadata"


def on_nodes() -> tuple[Case, ...]:
    """Rows 30 to 34 and 45."""
    uncordon = Case(name="admin-uncordons", row=34, rules=lambda s: (at("Cordoned", AFTER, do.uncordoned(s)),))
    return (
        Case(
            name="node-deleted",
            row=30,
            rules=lambda s: (at("Cordoned", AFTER, do.deleted(s, anew=False)),),
            exempt=_first,
        ),
        Case(name="node-recreated", row=31, rules=lambda s: (at("Cordoned", AFTER, do.deleted(s, anew=True)),)),
        Case(name="lent-node-recreated", row=31, rules=lambda _: (), at_peak=_recreated_while_lent),
        Case(
            name="node-not-ready",
            row=32,
            rules=lambda s: (at("Cordoned", AFTER, _breaks(s)),),
            at_end=_mended,
            lends_within=130.0,
        ),
        Case(name="admin-cordoned-before", row=33, rules=lambda _: (), prepare=_cordoned_before),
        Case(name="admin-cordons-while-lent", row=33, rules=lambda _: (), at_peak=_cordoned_while_lent, exempt=_first),
        uncordon,
        replace(uncordon, name="admin-uncordons-recalled", rules=lambda s: (at("Recalled", AFTER, do.uncordoned(s)),)),
        Case(name="half-not-ready", row=45, rules=lambda _: (), at_peak=_floor_breaks, at_end=_rest_mended),
    )


def _first(stage: Stage) -> frozenset[str]:
    return frozenset({stage.names[0]})


def _breaks(stage: Stage) -> do.Act:
    async def act(hit: Hit) -> None:
        await do.set_ready(stage, hit.path.rpartition("/")[2], ready=False)

    return act


async def _mended(stage: Stage) -> str:
    await do.set_ready(stage, stage.names[0], ready=True)
    return ""


async def _rest_mended(stage: Stage) -> str:
    for name in stage.names[2:]:
        await do.set_ready(stage, name, ready=True)
    return ""


async def _cordoned_before(stage: Stage) -> str:
    await stage.ground.admin.merge(f"{NODES}/{stage.names[0]}", {"spec": {"unschedulable": True}})
    await asyncio.sleep(1.5)
    return ""


async def _cordoned_while_lent(stage: Stage) -> str:
    for name in await do.claimed_nodes(stage):
        await stage.ground.admin.merge(f"{NODES}/{name}", {"spec": {"unschedulable": True}})
    return ""


async def _recreated_while_lent(stage: Stage) -> str:
    for name in await do.claimed_nodes(stage):
        await stage.ground.admin.delete(f"{NODES}/{name}")
        await asyncio.sleep(1.0)
        await stage.ground.admin.apply(world.a_node(name, "research"))
    return ""


async def _floor_breaks(stage: Stage) -> str:
    """Two of the three nodes at home break for longer than a minute: the lent one must come back in the surge."""
    for name in stage.names[2:]:
        await do.set_ready(stage, name, ready=False)
    return "" if await do.await_home(stage, 90.0) else "the lender's floor was broken for 90 s and no node came home"


def on_claims() -> tuple[Case, ...]:
    """Rows 18, 46 and 47."""
    foreign = Case(
        name="claim-of-another-version", row=18, rules=lambda _: (), prepare=_foreign_claim, at_end=_foreign_claim_stays
    )
    return (
        replace(foreign, adjust=_one_more_claim),
        Case(name="pool-label-edited", row=46, rules=lambda _: (), at_peak=_edited({"labels": {"workload": "other"}})),
        Case(name="claim-removed", row=46, rules=lambda _: (), at_peak=_claim_taken_off),
        Case(name="claim-removed-meanwhile", row=46, rules=lambda _: (), at_peak=_claim_taken_off_meanwhile),
        Case(name="claim-garbage", row=47, rules=lambda _: (), at_peak=_garbage_and_back),
    )


def _one_more_claim(promises: Promises) -> Promises:
    return replace(promises, max_loans=promises.max_loans + 1)


async def _foreign_claim(stage: Stage) -> str:
    patch = {"metadata": {"annotations": {do.CLAIM: GARBAGE}}}
    await stage.ground.admin.merge(f"{NODES}/{stage.names[-1]}", patch)
    return ""


async def _foreign_claim_stays(stage: Stage) -> str:
    """Everything else goes home; then whoever wrote that claim takes it away."""
    admin, ours = stage.ground.admin, stage.names[-1]

    async def others_home() -> bool:
        return set(await do.claimed_nodes(stage)) <= {ours}

    if not await until(others_home, 60.0):
        return "not home beside a claim of another version"
    path = f"{NODES}/{ours}"
    found = await admin.get(path)
    if found is None or found["metadata"]["annotations"].get(do.CLAIM) != GARBAGE:
        return f"{ours}: a claim of another version was written over"
    await admin.merge(path, {"metadata": {"annotations": {do.CLAIM: None}}})
    return ""


def _edited(metadata: dict[str, Any]) -> Callable[[Stage], Any]:
    async def act(stage: Stage) -> str:
        for name in await do.claimed_nodes(stage):
            await stage.ground.admin.merge(f"{NODES}/{name}", {ANNOTATED: metadata})
        await asyncio.sleep(3.0)
        return ""

    return act


async def _claim_taken_off(stage: Stage) -> str:
    """It is how a lent node knows its way home: it is put back."""
    lent = await do.claimed_nodes(stage)
    await _edited({"annotations": {do.CLAIM: None}})(stage)
    return await _is_put_back(stage, lent)


async def _claim_taken_off_meanwhile(stage: Stage) -> str:
    """Nobody saw it come off: what the pool's status bears is enough."""
    lent, operator = await do.claimed_nodes(stage), stage.ground.operator
    operator.hold()
    await operator.kill()
    await _edited({"annotations": {do.CLAIM: None}})(stage)
    operator.go_on()
    await operator.up()
    return await _is_put_back(stage, lent)


async def _is_put_back(stage: Stage, lent: list[str]) -> str:
    async def put_back() -> bool:
        return set(lent) <= set(await do.claimed_nodes(stage))

    return "" if await until(put_back, 10.0) else f"a claim that was taken off {', '.join(lent)} was not put back"


async def _garbage_and_back(stage: Stage) -> str:
    """The claim becomes unreadable: hands off; it is mended by a person: the loan goes on."""
    admin = stage.ground.admin
    for name in await do.claimed_nodes(stage):
        path = f"{NODES}/{name}"
        before = await admin.get(path)
        text = before["metadata"]["annotations"][do.CLAIM] if before else ""
        await admin.merge(path, {"metadata": {"annotations": {do.CLAIM: GARBAGE}}})
        await asyncio.sleep(5.0)
        now = await admin.get(path)
        if now is None or now["metadata"]["annotations"].get(do.CLAIM) != GARBAGE:
            return f"{name}: a claim that cannot be read was written over"
        await admin.merge(path, {"metadata": {"annotations": {do.CLAIM: text}}})
    return ""


def on_pods() -> tuple[Case, ...]:
    """Rows 41 and 42, on idle nodes."""
    return (
        Case(
            name="pod-lands-before-relabel",
            row=41,
            rules=lambda s: (at("Relabelled", BEFORE, do.pod_lands(s)),),
            adjust=_decided_before,
            lends_within=170.0,
            converges=150.0,
        ),
        Case(name="pod-lands-unseen", row=41, rules=lambda s: (at("Claimed", AFTER, _lands_unseen(s)),)),
        Case(name="daemonset-pods-stay", row=42, rules=lambda _: (), prepare=_daemons),
    )


def _decided_before(promises: Promises) -> Promises:
    """The pod lands while the write is on its way: the audit log's times are of its arrival, not of the decision."""
    return replace(promises, bind_lag=5.0)


def _lands_unseen(stage: Stage) -> do.Act:
    """A pod lands on the claimed node, and nothing of pods is seen for ten seconds."""
    held = Rule(match=POD_WATCH, act=TwistEvents(Twist.HOLD), times=0)
    lands = do.pod_lands(stage)

    async def act(hit: Hit) -> None:
        do.behind(stage.ground.proxy.during(10.0, held))
        await asyncio.sleep(0.1)
        await lands(hit)

    return act


async def _daemons(stage: Stage) -> str:
    labels = {"app": "exporter"}
    spec = {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "c", "image": "c"}]}
    made = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "exporter", "namespace": world.RESEARCH},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
    await stage.ground.admin.apply(made)
    await asyncio.sleep(2.0)
    return ""


def on_policies() -> tuple[Case, ...]:
    """Rows 44 and 48 to 50."""
    stop: dict[str, Any] = {"spec": {"capacity": {"borrowFrom": []}}}
    rivals = Case(
        name="two-policies-one-node",
        row=44,
        shape=world.Shape(floor=3, max_loans=2),
        rules=lambda _: (),
        prepare=_rival,
        at_end=_no_rival,
        lends=False,
    )
    return (
        Case(
            name="policy-edited-mid-move",
            row=48,
            rules=lambda s: (at("Cordoned", AFTER, do.policy_changed(s, stop)),),
            lends=False,
        ),
        Case(
            name="policy-edited-before-relabel",
            row=48,
            rules=lambda s: (at("Relabelled", BEFORE, do.policy_changed(s, stop)),),
            lends=False,
        ),
        *(_deleted(label, forced=forced) for label in ("Claimed", "Cordoned", "Lent") for forced in (False, True)),
        rivals,
        replace(rivals, name="two-policies-two-nodes", row=50, shape=world.Shape(floor=2, max_loans=2)),
    )


def _deleted(label: str, *, forced: bool) -> Case:
    name = f"policy-{'forced-away' if forced else 'deleted'}-at-{label}"
    return Case(
        name=name,
        row=49,
        rules=lambda s: (at(label, AFTER, do.policy_deleted(s, forced=forced)),),
        lends=False,
    )


async def _rival(stage: Stage) -> str:
    """Another policy wants nodes of the same lender, which has one above its floor."""
    await stage.ground.admin.apply(rival(stage))
    return ""


def rival(stage: Stage) -> dict[str, Any]:
    """The other policy; it sets no replicas."""
    made = world.a_policy(stage.shape, "rival")
    del made["spec"]["service"]["workloadRef"]
    return made


async def _no_rival(stage: Stage) -> str:
    path = path_of(rival(stage))
    await stage.ground.admin.delete(path)

    async def away() -> bool:
        return await stage.ground.admin.get(path) is None

    return "" if await until(away, 60.0) else "the second policy is still there 60 s after its deletion"
