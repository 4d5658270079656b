"""Which nodes to borrow: the rules, then the fewest nodes that cover the shortage with least harm."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from typing import Final

from meltguard.core.calendar_rules import rules_of
from meltguard.core.decision import NO_WORK, Borrow, Outcome, Shortage
from meltguard.core.fleet import HOMEWARD, MOST_TOLD, NodeView
from meltguard.core.harm import Loss, Stakes, elsewhere, losses, lost_hours, survey
from meltguard.core.ledger import NOTHING, burden, gpus_of
from meltguard.core.limits import UTILIZATION
from meltguard.core.loan_rules import (
    BOUNDED,
    LENDER_RULES,
    mode_allows_moves,
    resting,
    rests_until,
    room_for,
    room_of,
    shortage_lasts,
    unsuitable,
)
from meltguard.core.loan_words import refusals_in_words, shortage_in_words, still_missing, taken_in_words
from meltguard.core.node_rules import unfit
from meltguard.core.policy import HarmBounds, Mode
from meltguard.core.pools import PoolView
from meltguard.core.seen import Snapshot
from meltguard.core.sharing import WAITS
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Gpus, Instant, NodeName, PoolName, UnitsPerSecond
from meltguard.core.victims import Choice, Need, Place, Refusal, choose_nodes, whole_gpus

A_NODE: Final = "a node fits"
Found = tuple[tuple[Borrow, ...], tuple[Outcome, ...]]
"""What to claim now, and every rule's answer."""


def missing_gpus(demand: UnitsPerSecond, per_gpu: UnitsPerSecond | None, have: float) -> Gpus:
    """GPUs such as serve today that the offered demand needs beyond those at hand or arriving; 0 before they are known.

    >>> missing_gpus(UnitsPerSecond(9.8), UnitsPerSecond(1.0), 6.0)
    4
    """
    if not per_gpu:
        return Gpus(0)
    return whole_gpus(demand / (UTILIZATION * per_gpu) - have)


def choose_loans(short: Shortage) -> Found:
    """The nodes to claim now (the fewest that cover the shortage, with least harm), and every rule's answer.

    The plan is made whatever the policy's mode; the mode only decides whether it is carried out.
    """
    answers = [rule(short) for rule in rules_of(short)]
    if not all(answer.holds for answer in answers):
        return (), tuple(answers)
    plan, said = _plan(short)
    allowed = mode_allows_moves(short, plan)
    return (plan if allowed.holds else ()), (*answers, *said, allowed)


def _plan(short: Shortage) -> Found:
    """Over all lenders together: no work is broken off in one pool while another has an idle node to lend."""
    said: list[Outcome] = []
    lenders: list[PoolView] = []
    for name in short.capacity.borrow_from:
        answers = _asked(short, name)
        said += answers
        if all(answer.holds for answer in answers):
            lenders.append(short.seen.pools[name])
    if not lenders:
        return (), tuple(said)
    plan, left, found = _from_lenders(short, lenders)
    told = said if left else [answer for answer in said if answer.holds]  # nobody asks who else might have lent
    return plan, (*told, found)


def _asked(short: Shortage, name: PoolName) -> list[Outcome]:
    lender = short.seen.pools.get(name)
    if lender is None:
        text = f"there is no GPUPool {name}; create it or correct borrowFrom"
        return [Outcome(rule="pool exists", holds=False, text=text, way=name)]
    return [replace(rule(short, lender), way=name) for rule in LENDER_RULES]


def _from_lenders(short: Shortage, lenders: Sequence[PoolView]) -> tuple[tuple[Borrow, ...], float, Outcome]:
    """What to claim, what stays missing, and the words for both."""
    places, unfit_nodes = _places(short, lenders)
    need = Need(
        missing=short.missing,
        room=short.capacity.max_loans - len(short.seen.loans),
        rooms={lender.pool.name: room_for(short, lender) for lender in lenders},
        priority=short.seen.priority,
        emptying={lender.pool.name: lender.emptying for lender in lenders},
        by_chance=may_be_chance(short, "work is stopped", "nobody's work stops for more"),
    )
    choice = choose_nodes(places, need, _stakes(short))
    refused = {**choice.refused, **unfit_nodes}
    if not choice.taken:
        first = next((one.obstacles[0].reason for one in refused.values() if one.obstacles), "")
        names = ", ".join(lender.pool.name for lender in lenders)
        text = f"pool {names}: {refusals_in_words(refused)}"
        found = Outcome(rule=A_NODE, holds=False, text=text, reason=first, until=_opens(short, lenders), way=A_NODE)
        return (), choice.left, found
    bare, words = _told(choice, short.capacity.pool)
    plan = tuple(replace(borrow, cause=shortage_in_words(short)) for borrow in bare)
    text = "; ".join(words) + still_missing(choice.left, refused)
    return plan, choice.left, Outcome(rule=A_NODE, holds=True, text=text)


def sure_at(short: Shortage) -> Instant | None:
    """When this shortage will be more than chance, if it lasts; None where it is, or never will be."""
    left = None if short.planned else short.excess.sure_in(short.demand, short.beyond)
    return Instant(short.now + left) if left else None


def may_be_chance(short: Shortage, then: str, else_: str) -> str:
    """Why this is not done yet for a shortage; "" for one that is sure, and for what a calendar asks for.

    `then` says what is done if it lasts, `else_` that it is not done.
    """
    if short.planned or short.excess.is_sure:
        return ""
    at = sure_at(short)
    if at is None:
        return f"a demand of {short.demand:.2f} units a second is not beyond what serves; {else_}"
    beyond = f"{short.beyond:.2f} units a second of {short.demand:.2f} beyond what serves may be chance"
    return f"{beyond}: {then} if that lasts {at - short.now:.0f} s more"


def _opens(short: Shortage, lenders: Sequence[PoolView]) -> Instant | None:
    """When the first node that only rests has done so, or the shortage is sure."""
    able = [node for pool in lenders for node in pool.fit if not unsuitable(short, node)]
    moments = [rests_until(short, node) for node in able]
    if any(node.movable_pods and not resting(short, node) for node in able):
        moments.append(sure_at(short))
    return min((moment for moment in moments if moment is not None), default=None)


def _places(short: Shortage, lenders: Sequence[PoolView]) -> tuple[list[Place], Mapping[NodeName, Refusal]]:
    places: list[Place] = []
    refused: dict[NodeName, Refusal] = {}
    for turn, lender in enumerate(lenders):
        place = _placing(short, lender, turn)
        for node in sorted(lender.members, key=_by_name):
            if why := unfit(node) or resting(short, node) or unsuitable(short, node):
                refused[node.name] = Refusal(text=why)
            else:
                places.append(place(node=node, worth=short.worth(node)))
    return places, refused


def _placing(short: Shortage, lender: PoolView, turn: int) -> partial[Place]:
    """What a lender's places have in common, worked out once for all of them: it may have thousands."""
    lending = lender.pool.lending
    bought = lender.pool.scaling is not None  # it has nobody whom lending burdens, and costs while it stands idle
    lately = short.seen.lent_lately.get(lender.pool.name, NOTHING)
    return partial(
        Place,
        home=lender.pool.name,
        turn=-1 if bought else turn,
        eviction=lending.eviction if lending else None,
        bounds=lending.bounds if lending else HarmBounds(),
        burden=0.0 if bought else burden(lender, lately, short.now),
        burden_per_gpu=0.0 if bought else 1.0 / gpus_of(lender),
    )


def _by_name(node: NodeView) -> NodeName:
    return node.name


def _stakes(short: Shortage) -> Stakes:
    everywhere = [node for pool in short.seen.pools.values() for node in pool.members]
    return survey(everywhere, short.seen.guards, short.now)


def _told(choice: Choice, to: PoolName) -> tuple[tuple[Borrow, ...], list[str]]:
    """The plan, each node with what it costs beyond those before it, and the words for it."""
    plan: list[Borrow] = []
    words: list[str] = []
    before = NO_WORK
    broken: set[str] = set()
    for count, place in enumerate(choice.taken, start=1):
        lost = lost_hours(choice.stakes, choice.nodes[:count])
        hit = losses(choice.stakes, [place.node])
        new = [loss for loss in losses(choice.stakes, choice.nodes[:count]) if loss.work.name not in broken]
        borrow = Borrow(
            node=place.node.name,
            home=place.home,
            to=to,
            work_lost=GpuHours(lost - before),
            victims=tuple(loss.work.name for loss in hit),
            stops=_stops(new),
            gang_elsewhere=tuple(pod for loss in new for pod in elsewhere(loss.work, _names(choice))),
        )
        plan.append(borrow)
        words.append(taken_in_words(place, borrow, new, choice))
        before, broken = lost, broken | set(borrow.victims)
    return tuple(plan), words


def _stops(found: Sequence[Loss]) -> tuple[Stopped, ...]:
    most = sorted(found, key=lambda loss: (-loss.hours, loss.work.name))[:MOST_TOLD]
    return tuple(Stopped(work=one.work.name, hours=one.hours, saved=one.work.saved) for one in most)


def _names(choice: Choice) -> list[NodeName]:
    return [node.name for node in choice.nodes]


def waits_for(short: Shortage, plan: Sequence[Borrow]) -> Mapping[PoolName, bool]:
    """The lenders that this service takes from now, or would if they had room: where it stands in a queue.

    From the first sample on, so that of two that begin at the same time neither takes the other's share; and a minute
    before a rest or a closed window ends, for that ends earlier for one than for the other. Of each, whether it looks
    for nodes there yet: who only stands there has not found none.
    """
    asked = (rule(short).holds for rule in rules_of(short) if rule is not shortage_lasts)
    if short.policy.mode is not Mode.ENFORCE or not all(asked):
        return {}
    named = (short.seen.pools[name] for name in short.capacity.borrow_from if name in short.seen.pools)
    stands = {lender.pool.name: _looks_at(short, lender) for lender in named}
    queued = {name: looks for name, looks in stands.items() if looks is not None}
    return queued | dict.fromkeys((borrow.home for borrow in plan), True)


def _looks_at(short: Shortage, lender: PoolView) -> bool | None:
    """True where only its turn is between the service and this lender's nodes, False where less than a minute is too.

    None where it does not queue there.
    """
    closed = [answer for rule in LENDER_RULES if rule not in BOUNDED if not (answer := rule(short, lender)).holds]
    if not all(answer.until is not None and answer.until - short.now <= WAITS for answer in closed):
        return None
    if closed or not (short.planned or shortage_lasts(short).holds):
        return False
    return True if room_of(lender) <= 0 or room_for(short, lender) <= 0 else None


def arriving(seen: Snapshot, not_awaited: AbstractSet[NodeName]) -> list[NodeView]:
    """Loans that are on their way out, or lent and not serving yet. Who serves, is late or called home is named."""
    outward = (node for node in seen.loans if node.claim and node.claim.step not in HOMEWARD)
    return [node for node in outward if node.name not in not_awaited]
