"""Rows 35 to 43 of the fault matrix: busy nodes, whose pods do not go as they should."""

import asyncio
import json
import os
import signal
from dataclasses import replace
from typing import Any, Final

from faults import meddling as do
from faults import world
from faults.cases import AFTER, BEFORE, LABELS, at
from faults.promises import SAVED
from faults.rules import Hit, LoseReply, Match, Rule
from faults.scenario import NODES, Case, Stage
from meltguard.clock import SystemClock, rfc3339
from meltguard.core.units import Instant

BUSY: Final = world.Shape(busy=True)
PATIENT: Final = replace(BUSY, notice="18s", deadline="60s")
PODS: Final = f"/api/v1/namespaces/{world.RESEARCH}/pods"
BUDGETS: Final = f"/apis/policy/v1/namespaces/{world.RESEARCH}/poddisruptionbudgets"
ANOTHER: Final = 110.0
"""Seconds in which another node is lent after one was given up at its deadline."""


def budgets() -> tuple[Case, ...]:
    """Rows 35 and 36: disruption budgets that allow nothing."""
    return (
        Case(name="pdb-on-all", row=35, shape=BUSY, rules=_none, prepare=_budget_for_all, lends=False),
        Case(
            name="pdb-appears-mid-drain",
            row=35,
            shape=BUSY,
            rules=lambda s: (at("Draining", AFTER, _budgets(s, 1)),),
            lends_within=ANOTHER,
            converges=90.0,
        ),
        Case(
            name="two-pdbs-appear-mid-drain",
            row=36,
            shape=BUSY,
            rules=lambda s: (at("Draining", AFTER, _budgets(s, 2)),),
            lends_within=ANOTHER,
            converges=90.0,
        ),
    )


def _none(_: Stage) -> tuple[Rule, ...]:
    return ()


def a_budget(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A budget that allows no eviction of the one pod that it is about."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": world.RESEARCH},
        "spec": {"minAvailable": 100, "selector": {"matchLabels": labels}},
    }


async def _budget_for_all(stage: Stage) -> str:
    await stage.ground.admin.create(a_budget("all", {"run": "faults"}))
    await asyncio.sleep(2.0)
    return ""


def _budgets(stage: Stage, count: int) -> do.Act:
    async def act(hit: Hit) -> None:
        for number in range(count):
            labels = {"app": (await _pods_on(stage, hit))[0]["metadata"]["labels"]["app"]}
            await stage.ground.admin.create(a_budget(f"late-{number}", labels))

    return act


async def _pods_on(stage: Stage, hit: Hit) -> list[dict[str, Any]]:
    """The research pods of the node that is written to."""
    node = hit.path.rpartition("/")[2]
    bodies = await stage.ground.admin.items(PODS)
    return [body for body in bodies if body["spec"].get("nodeName") == node]


def _path(body: dict[str, Any]) -> str:
    return f"{PODS}/{body['metadata']['name']}"


def stubborn_pods() -> tuple[Case, ...]:
    """Rows 37 and 38: pods that are told to go and stay."""
    return (
        Case(
            name="terminating-past-grace",
            row=37,
            shape=BUSY,
            rules=lambda s: (at("Evict", AFTER, _kubelets_asleep(s, 10.0)),),
            lends_within=ANOTHER,
            converges=90.0,
        ),
        Case(
            name="pod-finalizer-held",
            row=38,
            shape=BUSY,
            rules=lambda s: (at("Notified", AFTER, _holding(s)),),
            at_end=_let_go,
            lends_within=ANOTHER,
            converges=90.0,
        ),
    )


def _kubelets_asleep(stage: Stage, seconds: float) -> do.Act:
    async def act(_: Hit) -> None:
        pid = stage.ground.plane.processes["kwok"]
        os.kill(pid, signal.SIGSTOP)

        async def wake() -> None:
            await asyncio.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

        do.behind(wake())

    return act


def _holding(stage: Stage) -> do.Act:
    async def act(hit: Hit) -> None:
        for body in await _pods_on(stage, hit):
            held = [*body["metadata"].get("finalizers", []), "example.com/hold"]
            await stage.ground.admin.merge(_path(body), {"metadata": {"finalizers": held}})

    return act


async def _let_go(stage: Stage) -> str:
    for body in await stage.ground.admin.items(PODS):
        held = body["metadata"].get("finalizers", [])
        if "example.com/hold" in held:
            left = [name for name in held if name != "example.com/hold"]
            await stage.ground.admin.merge(_path(body), {"metadata": {"finalizers": left}})
    return ""


def owners() -> tuple[Case, ...]:
    """Rows 39, 40, 42 and 43: what a pod's owner says and does."""
    return (
        Case(name="checkpoint-never-saved", row=39, shape=replace(BUSY, notice="6s"), rules=_none),
        Case(name="checkpoint-saved-early", row=39, shape=PATIENT, rules=lambda s: (at("Notice", AFTER, _saves(s)),)),
        Case(
            name="pod-replaced-under-its-name",
            row=40,
            shape=BUSY,
            rules=lambda s: (at("Evict", BEFORE, _replaced(s)),),
            lends_within=ANOTHER,
            converges=120.0,
        ),
        Case(name="unowned-pod-on-one", row=42, shape=BUSY, rules=_none, prepare=_unowned),
        Case(
            name="do-not-evict-after-claim",
            row=43,
            shape=BUSY,
            rules=lambda s: (at("Cordoned", AFTER, _keeps(s)),),
            lends_within=ANOTHER,
        ),
        Case(
            name="do-not-evict-after-notice",
            row=43,
            shape=replace(BUSY, notice="6s"),
            rules=lambda s: (at("Notified", AFTER, _keeps(s)),),
            lends_within=ANOTHER,
        ),
    )


def _saves(stage: Stage) -> do.Act:
    async def act(hit: Hit) -> None:
        async def save() -> None:
            await asyncio.sleep(2.0)
            now = rfc3339(Instant(SystemClock().now()))
            await stage.ground.admin.merge(hit.path, {"metadata": {"annotations": {SAVED: now}}})

        do.behind(save())

    return act


def _replaced(stage: Stage) -> do.Act:
    """The pod goes at once, and another of its name stands on its node before the eviction arrives."""

    async def act(hit: Hit) -> None:
        path = hit.path.removesuffix("/eviction")
        body = await stage.ground.admin.get(path) or {}
        await stage.ground.admin.merge(path, {"metadata": {"finalizers": None}})
        await stage.ground.admin.delete(path, grace=0)
        await do.gone(stage, path)
        await stage.ground.admin.create(world.a_pod(path.rpartition("/")[2], body["spec"]["nodeName"]))

    return act


async def _unowned(stage: Stage) -> str:
    await stage.ground.admin.create(world.a_pod("bare", stage.names[0]))
    await asyncio.sleep(1.0)
    return ""


def _keeps(stage: Stage) -> do.Act:
    async def act(hit: Hit) -> None:
        for body in await _pods_on(stage, hit):
            note = {"metadata": {"annotations": {"meltguard.io/do-not-evict": "true"}}}
            await stage.ground.admin.merge(_path(body), note)

    return act


SLOW: Final = replace(BUSY, notice="6s", deadline="40s")
"""Time for somebody to meddle."""


def mid_drain() -> tuple[Case, ...]:
    """Earlier rows again, with work on the nodes."""
    losing = tuple(Rule(match=Match(label=label), act=LoseReply()) for label in (*LABELS, "Recalled", "Released"))
    return (
        Case(name="busy-reply-lost-each-write", row=11, shape=BUSY, rules=lambda _: losing, lends_within=120.0),
        Case(
            name="busy-sigterm-notified", row=15, shape=SLOW, rules=lambda s: (at("Notified", AFTER, do.terminated(s)),)
        ),
        *_interrupted(),
    )


def _interrupted() -> tuple[Case, ...]:
    """Somebody or something comes between."""
    return (
        Case(
            name="busy-not-ready-mid-drain",
            row=32,
            shape=SLOW,
            rules=lambda s: (at("Notified", AFTER, _breaks(s)),),
            at_end=_mended,
            lends_within=ANOTHER,
            converges=90.0,
        ),
        Case(
            name="busy-admin-uncordons-mid-drain",
            row=34,
            shape=SLOW,
            rules=lambda s: (at("Notified", AFTER, do.uncordoned(s)),),
            lends_within=ANOTHER,
        ),
        Case(
            name="busy-policy-deleted-notified",
            row=49,
            shape=SLOW,
            rules=lambda s: (at("Notified", AFTER, do.policy_deleted(s)),),
            lends=False,
        ),
        Case(
            name="busy-api-server-killed-draining",
            row=1,
            shape=SLOW,
            rules=lambda s: (at("Draining", AFTER, do.kill_api_server(s, 5.0)),),
            lends_within=ANOTHER,
        ),
        Case(
            name="busy-rights-revoked-notified",
            row=13,
            shape=SLOW,
            rules=lambda s: (at("Notified", AFTER, do.without_rights(s, 6.0)),),
            lends_within=ANOTHER,
        ),
    )


def _breaks(stage: Stage) -> do.Act:
    async def act(hit: Hit) -> None:
        await do.set_ready(stage, hit.path.rpartition("/")[2], ready=False)

    return act


async def _mended(stage: Stage) -> str:
    for body in await stage.ground.admin.items(NODES):
        if "local.meltguard.io/down" in json.dumps(body["metadata"].get("annotations", {})):
            await do.set_ready(stage, body["metadata"]["name"], ready=True)
    return ""
