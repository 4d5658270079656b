"""The catalogue: crash points, and the rows of the fault matrix that an idle round trip can show."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from faults import meddling as do
from faults import world
from faults.rules import (
    Answer,
    Drop,
    ErrorInStream,
    Hit,
    LoseReply,
    Match,
    Meddle,
    Moment,
    OldList,
    Reset,
    Rule,
    Twist,
    TwistEvents,
)
from faults.scenario import CALM, NODES, OVERLOAD, Case, Stage
from faults.setting import until

BEFORE, AFTER = Moment.BEFORE, Moment.AFTER
WHOLE: Final = Match()
WATCHES: Final = Match(watch=True)
NODE_WATCH: Final = Match(watch=True, path="/nodes")
POD_WATCH: Final = Match(watch=True, path="/pods")
LABELS: Final = ("Claimed", "Cordoned", "Notified", "Draining", "Notice", "Evict", "Relabelled", "Lent", "Scale")
HOMEWARD: Final = ("Mark", "Recalled", "Restored", "Home", "Released")


def at(label: str, moment: Moment, act: do.Act) -> Rule:
    """Somebody acts around the first write of this label."""
    return Rule(match=Match(label=label), act=Meddle(moment, act))


def fault_free(shape: world.Shape = world.IDLE) -> Case:
    """Nothing fails."""
    return Case(name="fault-free-busy" if shape.busy else "fault-free", shape=shape, rules=lambda _: ())


async def _cut(stage: Stage) -> str:
    stage.ground.proxy.cut_watches()
    return ""


def _lost_events() -> tuple[Case, ...]:
    """Row 9: each kind of event, lost."""
    lose = [(NODE_WATCH, "MODIFIED"), (NODE_WATCH, "ADDED"), (POD_WATCH, "ADDED"), (POD_WATCH, "MODIFIED")]
    lose += [(POD_WATCH, "DELETED"), (NODE_WATCH, "DELETED")]
    return tuple(
        Case(
            name=f"events-lost-{match.path.strip('/')}-{kind.lower()}",
            row=9,
            rules=_always(Rule(match=match, act=TwistEvents(Twist.LOSE, kind), times=0)),
            at_peak=_comes_and_goes,
            lends_within=110.0,
            converges=130.0,
        )
        for match, kind in lose
    )


def watches() -> tuple[Case, ...]:
    """Rows 6 to 12: what is seen is late, lost, old or doubled."""
    doubled = Rule(match=WATCHES, act=TwistEvents(Twist.DOUBLE), times=0)
    swapped = Rule(match=WATCHES, act=TwistEvents(Twist.SWAP, "MODIFIED"), times=6)
    losing = tuple(Rule(match=Match(label=label), act=LoseReply()) for label in (*LABELS, *HOMEWARD))
    silent = Rule(match=WATCHES, act=TwistEvents(Twist.HOLD), times=0)
    return (
        Case(name="410-after-deletion", row=6, rules=lambda _: (), at_peak=_deleted_in_a_gap, exempt=_last_node),
        Case(name="500-in-stream", row=7, rules=lambda _: (_in_stream(500),), at_peak=_cut, fresh=True),
        Case(name="429-in-stream", row=7, rules=lambda _: (_in_stream(429),), at_peak=_cut, fresh=True),
        Case(
            name="watches-silent-80s",
            row=8,
            rules=lambda s: (at("Cordoned", AFTER, do.fault_for(s, 80.0, silent)),),
            lends_within=130.0,
            converges=150.0,
        ),
        *_lost_events(),
        Case(name="old-list-while-lent", row=10, rules=lambda _: (), at_peak=_old_list),
        Case(
            name="old-view-at-the-floor",
            row=10,
            prepare=_floor_reached_unseen,
            at_end=_all_ready,
            rules=lambda _: (Rule(match=NODE_WATCH, act=TwistEvents(Twist.HOLD), times=0),),
            exempt=lambda stage: frozenset(stage.names[2:]),
            lends=False,
        ),
        Case(name="reply-lost-each-write", row=11, rules=lambda _: losing, lends_within=120.0, converges=90.0),
        Case(name="events-doubled", row=12, rules=lambda _: (doubled,), fresh=True),
        Case(name="events-swapped", row=12, rules=lambda _: (swapped,), fresh=True, converges=90.0),
    )


def _always(*rules: Rule) -> Callable[[Stage], Sequence[Rule]]:
    return lambda _: rules


def _in_stream(code: int) -> Rule:
    return Rule(match=WATCHES, act=ErrorInStream(code), first=6, times=6)


def _last_node(stage: Stage) -> frozenset[str]:
    return frozenset({stage.names[-1]})


async def _deleted_in_a_gap(stage: Stage) -> str:
    """While nothing is seen, a node is deleted; the watches go on with 410."""
    proxy = stage.ground.proxy
    proxy.add(
        Rule(match=WATCHES, act=TwistEvents(Twist.LOSE), times=0),
        Rule(match=WATCHES, act=ErrorInStream(410), times=4),
    )
    await stage.ground.admin.delete(f"{NODES}/{stage.names[-1]}")
    await asyncio.sleep(1.0)
    proxy.disarm()
    proxy.cut_watches()
    return ""


async def _comes_and_goes(stage: Stage) -> str:
    """One more node joins the lender and leaves again: events of both kinds that nobody may miss."""
    name = f"research-{stage.run}-more"
    await stage.ground.admin.apply(world.a_node(name, "research"))
    await asyncio.sleep(1.0)
    await stage.ground.admin.delete(f"{NODES}/{name}")
    return ""


async def _floor_reached_unseen(stage: Stage) -> str:
    """Two of four nodes break, while the operator's view of nodes stands still."""
    for name in stage.names[2:]:
        await do.set_ready(stage, name, ready=False)
    await asyncio.sleep(1.0)
    return ""


async def _all_ready(stage: Stage) -> str:
    stage.ground.proxy.disarm()
    for name in stage.names[2:]:
        await do.set_ready(stage, name, ready=True)
    await asyncio.sleep(1.0)
    return ""


async def _old_list(stage: Stage) -> str:
    """Nodes are listed as before the loan, and nothing newer is seen for eight seconds."""
    proxy = stage.ground.proxy
    old = Rule(match=Match(listing=True, path="/nodes$"), act=OldList(), times=0)
    held = Rule(match=NODE_WATCH, act=TwistEvents(Twist.HOLD), times=0)
    do.behind(proxy.during(8.0, old, held))
    proxy.cut_watches()
    await asyncio.sleep(8.0)
    return ""


def rights_and_processes() -> tuple[Case, ...]:
    """Rows 13, 15 and 19: rights, the process, the resources' definitions."""
    unknown = Rule(match=WHOLE, act=Answer(401), times=0)
    dropped = Rule(match=Match(numbered=True), act=Drop(), times=3)
    return (
        Case(name="rights-revoked-6s", row=13, rules=lambda s: (at("Cordoned", AFTER, do.without_rights(s, 6.0)),)),
        Case(name="token-refused-6s", row=13, rules=lambda s: (at("Claimed", AFTER, do.fault_for(s, 6.0, unknown)),)),
        Case(name="writes-dropped", row=11, rules=lambda _: (dropped,)),
        Case(name="sigterm-cordoned", row=15, rules=lambda s: (at("Cordoned", AFTER, do.terminated(s)),)),
        Case(name="sigterm-recalled", row=15, rules=lambda s: (at("Recalled", AFTER, do.terminated(s)),)),
        Case(name="crd-applied-again", row=19, rules=lambda s: (at("Relabelled", BEFORE, _crd_again(s)),)),
    )


def _crd_again(stage: Stage) -> do.Act:
    async def act(_: object) -> None:
        for name in ("imageservicepolicies", "gpupools"):
            patch = {"metadata": {"annotations": {"upgraded": stage.run}}}
            await stage.ground.admin.merge(f"{do.CRDS}/{name}.meltguard.io", patch)

    return act


def two_operators() -> tuple[Case, ...]:
    """Rows 16 and 17, with a second operator standing by."""
    return (
        Case(
            name="frozen-with-a-write-on-its-way",
            row=16,
            prepare=_second_up,
            at_end=_second_down,
            rules=lambda s: (at("Relabelled", BEFORE, do.frozen(s)),),
            lends_within=130.0,
            converges=90.0,
        ),
        Case(
            name="leader-cut-off-30s",
            row=17,
            prepare=_second_up,
            at_end=_second_down,
            rules=lambda s: (Rule(match=Match(label="Cordoned"), act=Meddle(AFTER, _cut_off(s))),),
            lends_within=130.0,
            converges=90.0,
        ),
    )


def _cut_off(stage: Stage) -> do.Act:
    async def act(hit: Hit) -> None:
        do.behind(stage.ground.proxy.during(30.0, Rule(match=Match(client=hit.client), act=Reset(), times=0)))
        stage.ground.proxy.cut_watches()

    return act


async def _second_up(stage: Stage) -> str:
    second = stage.ground.operators.get("second")
    if second is None:
        return "this ground has no second operator: give two doors"
    if not second.opened:
        second.open()
    second.go_on()
    await second.up()
    return ""


async def _second_down(stage: Stage) -> str:
    await do.await_home(stage, 100.0)
    second = stage.ground.operators["second"]
    second.hold()
    await second.kill()
    return ""


async def _again_after_restart(stage: Stage) -> str:
    """A second surge right after the first, with an operator that remembers nothing of it."""
    ground = stage.ground
    if not await do.await_home(stage, 60.0):
        return "the first loan did not end"
    await ground.operator.kill()
    ground.agents.ask(OVERLOAD)

    async def claimed() -> bool:
        return bool(await do.claimed_nodes(stage))

    await until(claimed, 40.0)
    await asyncio.sleep(2.0)
    ground.agents.ask(CALM)
    return ""


async def _in_the_dark(stage: Stage) -> str:
    """No agent says anything any more."""
    stage.ground.agents.silent = True
    return ""


def beyond() -> tuple[Case, ...]:
    """What rows 14, 20 and 44 ask in other words: rest times survive a restart; no word, no loan."""
    dark = Case(name="agents-silent", row=20, rules=lambda _: (), prepare=_in_the_dark, lends=False)
    return (
        Case(
            name="second-surge-after-restart", row=14, rules=lambda _: (), at_end=_again_after_restart, converges=90.0
        ),
        replace(dark, adjust=lambda promises: replace(promises, untrusted=((0.0, float("inf")),))),
    )
