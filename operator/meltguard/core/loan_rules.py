"""The rules of borrowing, in order; each answers one question, and its name is the sentence that must hold."""

from collections.abc import Callable, Sequence
from typing import Final

from meltguard.core.belief import doubts_in_words
from meltguard.core.decision import Borrow, Outcome, Shortage
from meltguard.core.fleet import NodeView
from meltguard.core.level import ENTER
from meltguard.core.loading import WORTH, late_nodes
from meltguard.core.loan_words import plan_in_words
from meltguard.core.plausible import platform_confirms, surge_is_plausible
from meltguard.core.policy import Level, Mode
from meltguard.core.pools import PoolView
from meltguard.core.rest import rest_ends, rest_of
from meltguard.core.sharing import my_room
from meltguard.core.units import Gpus, Instant, Seconds, Share
from meltguard.core.waiting import outranking
from meltguard.core.wording import counted

COVERAGE: Final = Share(0.8)
"""Below this share of answering pods the demand is not known."""

FLEET_FRESH: Final = Seconds(75.0)
"""A watch that has been silent for longer says nothing about nodes."""

MOST_NAMED: Final = 3
"""Of the pods that are not believed, in one sentence."""

CONFIRMED_FOR: Final = Seconds(2.0)
"""A shortage must last this long (two samples) before a node moves."""


LoanRule = Callable[[Shortage], Outcome]
LenderRule = Callable[[Shortage, PoolView], Outcome]


def agents_answer(short: Shortage) -> Outcome:
    """Demand is known only if the serving pods answer."""
    seen = short.seen
    text = f"{len(seen.believed)} of {seen.ready_pods} ready pods answer"
    if not seen.ready_pods and seen.unready_pods:
        text = f"no pod is Ready; {len(seen.unready)} of {seen.unready_pods} that run answer"
    holds = seen.coverage >= COVERAGE and seen.answers
    said = "; ".join((f"{text}, at least {COVERAGE:.0%} must", *doubts_in_words(seen)[:MOST_NAMED]))
    return Outcome(rule="agents answer", holds=holds, text=said)


def nodes_are_watched(short: Shortage) -> Outcome:
    """Old node facts move nothing."""
    age = short.seen.fleet_age
    return Outcome(
        rule="nodes are watched",
        holds=age <= FLEET_FRESH,
        text=f"the watch on nodes was alive {age:.0f} s ago, at most {FLEET_FRESH:.0f} s are trusted",
    )


def pressure_is_high(short: Shortage) -> Outcome:
    """Borrowing starts at the policy's pressure, below where limits bite."""
    now = short.pressure
    holds = now is not None and now >= short.capacity.borrow_at
    shown = "unknown" if now is None else f"{now:.2f}"
    return Outcome(
        rule="pressure is high", holds=holds, text=f"pressure {shown}, loans start at {short.capacity.borrow_at:.2f}"
    )


def gpus_are_missing(short: Shortage) -> Outcome:
    """A loan must relieve something."""
    more = counted(short.missing, "more GPU") if short.missing > 0 else "no more GPUs"
    text = f"the offered demand needs {more} than serve or are arriving"
    return Outcome(rule="GPUs are missing", holds=short.missing > 0, text=text)


def shortage_lasts(short: Shortage) -> Outcome:
    """One sample moves no node."""
    since = short.memory.short_since
    lasted = 0.0 if since is None else short.now - since
    return Outcome(
        rule="shortage lasts",
        holds=since is not None and lasted >= CONFIRMED_FOR,
        text=f"for {lasted:.0f} s, {CONFIRMED_FOR:.0f} s are asked for",
        until=Instant((short.now if since is None else since) + CONFIRMED_FOR),
    )


def policy_has_room(short: Shortage) -> Outcome:
    """The policy's own bound on loans."""
    out = len(short.seen.loans)
    return Outcome(
        rule="policy has room", holds=out < short.capacity.max_loans, text=f"{out} of {short.capacity.max_loans} loans"
    )


def service_has_rested(short: Shortage) -> Outcome:
    """What went home a moment ago because it was not needed is not borrowed back, but for a real surge."""
    at, wait = short.memory.returned_at, short.capacity.return_after
    left = 0.0 if at is None else wait - (short.now - at)
    surge = short.pressure is not None and short.pressure >= ENTER[Level.OVERLOADED]
    text = f"a node went home for calm; {left:.0f} s more, or pressure {ENTER[Level.OVERLOADED]:.1f}, are asked for"
    said = text if left > 0 else "no node went home lately"
    return Outcome(rule="service has rested", holds=left <= 0 or surge, text=said, until=Instant(short.now + left))


def loans_serve(short: Shortage) -> Outcome:
    """What was lent must be seen to serve before more is taken: a pod that never starts starts nowhere.

    Where other loans serve, the fault is the node's, and the late one is merely not counted on any more.
    """
    serving = short.seen.serving_nodes
    late = sorted(late_nodes(short.seen.loans, short.memory.loading, serving, short.now))
    proven = any(node.name in serving for node in short.seen.loans)
    usual = short.memory.loading.usual
    known = "how long a pod takes to start is not learned yet" if usual is None else f"pods start in {usual:.0f} s"
    silent = f"no agent answers on {', '.join(late)}, lent long ago for {known}; look at the pods there"
    return Outcome(rule="loans serve", holds=proven or not late, text=silent if late else known)


LOAN_RULES: Final[tuple[LoanRule, ...]] = (
    agents_answer,  # demand is known
    nodes_are_watched,  # node facts are fresh
    pressure_is_high,  # there is a reason
    gpus_are_missing,  # and a loan would help
    shortage_lasts,  # for more than a moment
    platform_confirms,  # the platform says so too
    surge_is_plausible,  # and a jump is no fault of a metric
    policy_has_room,  # the taker's own bound
    service_has_rested,  # no back and forth
    loans_serve,  # what was taken is of use
)
"""Asked before anything is planned. The policy's mode is asked after it: Shadow shows the whole plan."""


def mode_allows_moves(short: Shortage, plan: Sequence[Borrow]) -> Outcome:
    """Only Enforce starts moves; what would be moved is told in any case."""
    mode = short.policy.mode
    text = f"the policy's mode is {mode}"
    if mode is not Mode.ENFORCE and plan:
        text += f": would borrow {plan_in_words(plan)}"
    return Outcome(rule="mode allows moves", holds=mode is Mode.ENFORCE, text=text)


def pool_lends(_: Shortage, lender: PoolView) -> Outcome:
    """Only a pool with spec.lending lends."""
    name = lender.pool.name
    holds = lender.pool.lending is not None
    return Outcome(rule="pool lends", holds=holds, text=f"pool {name} {'lends' if holds else 'has no spec.lending'}")


def lends_to_namespace(short: Shortage, lender: PoolView) -> Outcome:
    """The lender says who may borrow."""
    lending = lender.pool.lending
    wanted = lending.borrower_labels if lending else {}
    holds = wanted.items() <= short.seen.namespace_labels.items()
    labels = ",".join(f"{key}={value}" for key, value in sorted(wanted.items())) or "any"
    return Outcome(
        rule="pool lends to this namespace",
        holds=holds,
        text=f"pool {lender.pool.name} lends to namespaces labelled {labels}, {short.policy.namespace} "
        f"{'is' if holds else 'is not'}",
    )


def no_window_denies(short: Shortage, lender: PoolView) -> Outcome:
    """The lender's hours, in its own time zone."""
    hours = short.seen.hours.get(lender.pool.name)
    text = hours.why if hours else "the pool has no windows"
    until = hours.until if hours else None
    return Outcome(rule="no window denies", holds=hours is None or hours.open, text=text, until=until)


def lender_has_room(_: Shortage, lender: PoolView) -> Outcome:
    """The lender's own bound on loans."""
    most = lender.pool.lending.max_loans if lender.pool.lending else 0
    out = len(lender.lent)
    return Outcome(
        rule="lender has room", holds=out < most, text=f"pool {lender.pool.name} has {out} of {most} loans out"
    )


def lender_keeps_its_floor(_: Shortage, lender: PoolView) -> Outcome:
    """A loan never takes the lender below its floor of Ready, schedulable, unclaimed nodes."""
    floor = lender.floor
    left = len(lender.sound) - 1
    sick = [f"; {node.name} {node.sick}" for node in lender.at_home if node.sick]
    kept = counted(max(left, 0), "node")
    return Outcome(
        rule="lender keeps its floor",
        holds=left >= floor,
        text=f"pool {lender.pool.name} would keep {kept}, its floor is {floor}{''.join(sick[:3])}",
    )


def lender_has_rested(short: Shortage, lender: PoolView) -> Outcome:
    """A lender that called a node back is left alone for a while, each time within a day for twice as long."""
    recalled = short.memory.recalled.get(lender.pool.name)
    left = 0.0 if recalled is None else rest_of(recalled) - (short.now - recalled.at)
    name = lender.pool.name
    mine = [node for node in short.seen.loans if node.claim and node.claim.home == name]
    order = short.seen.recalls.get(name)
    if order is not None and any(node.claim and order.means(node.name, node.claim) for node in mine):
        return Outcome(rule="lender has rested", holds=False, text=f"pool {name} is calling nodes back")
    said = f"pool {name} called a node back; it is asked again in {left:.0f} s"
    text = said if left > 0 else f"pool {name} called nothing back lately"
    return Outcome(rule="lender has rested", holds=left <= 0, text=text, until=Instant(short.now + left))


def others_have_their_share(short: Shortage, lender: PoolView) -> Outcome:
    """Where several want the lender's nodes, the next goes to the one whose it is by priority and weight."""
    name = lender.pool.name
    rivals = sorted(peer.key for peer in short.seen.peers if name in peer.lenders)
    holds = not rivals or free_now(short, lender) <= 0 or room_for(short, lender) > 0
    said = f"what pool {name} can lend goes to {', '.join(rivals)} first, by priority and weight"
    text = said if not holds else f"nobody comes first at pool {name}"
    return Outcome(rule="others have their share", holds=holds, text=text)


def loan_outlasts_start(short: Shortage, lender: PoolView) -> Outcome:
    """A node that would go home soon after its model is loaded helps nobody."""
    usual = short.memory.loading.usual
    most = lender.pool.lending.max_duration if lender.pool.lending else Seconds(0.0)
    name = lender.pool.name
    text = f"pool {name} lends for {most:.0f} s" + (f", pods start in {usual:.0f} s" if usual is not None else "")
    holds = usual is None or usual <= WORTH * most
    said = text if holds else f"{text}: more than {WORTH:.0%} of the loan; raise lending.maxLoanDuration"
    return Outcome(rule="loan outlasts its start", holds=holds, text=said)


def room_of(lender: PoolView) -> int:
    """How many nodes a pool may still lend."""
    lending = lender.pool.lending
    return min(lending.max_loans - len(lender.lent), len(lender.sound) - lender.floor) if lending else 0


def room_for(short: Shortage, lender: PoolView) -> int:
    """How many of them this service may take now, as others want some too."""
    gpus = sum(short.seen.gpus_of(node) for node in lender.members)
    each = Gpus(max(1, gpus // max(1, len(lender.members))))
    return my_room(short.taker, short.seen.peers, lender.pool.name, (free_now(short, lender), each))


def free_now(short: Shortage, lender: PoolView) -> int:
    """How many can be had at this moment: shares are of these, not of what still rests."""
    fit = sum(not resting(short, node) for node in lender.fit)
    return max(0, min(room_of(lender), fit))


def nobody_of_rank_waits(short: Shortage, lender: PoolView) -> Outcome:
    """What would be called home at once is not borrowed."""
    pod = outranking(short.seen, lender.pool, lender.members, short.now)
    name = lender.pool.name
    said = f"no work that outranks this service's waits for pool {name}"
    if pod is not None:
        said = f"pod {pod.namespace}/{pod.name} of priority {pod.priority} waits for a node of pool {name}"
    return Outcome(rule="nobody of rank waits", holds=pod is None, text=said)


LENDER_RULES: Final[tuple[LenderRule, ...]] = (
    pool_lends,  # whether at all
    lends_to_namespace,  # to whom
    no_window_denies,  # when
    loan_outlasts_start,  # for long enough
    lender_has_rested,  # it wanted its nodes itself a moment ago
    nobody_of_rank_waits,  # it wants them now
    lender_has_room,  # how many
    lender_keeps_its_floor,  # what stays
    others_have_their_share,  # whose the next one is
)

BOUNDED: Final = frozenset({lender_has_room, lender_keeps_its_floor, others_have_their_share})
"""Where only these say no, the service waits its turn at that lender."""


def rests_until(short: Shortage, node: NodeView) -> Instant | None:
    """Until when a node that came home lately stays there; None where it did not."""
    return rest_ends(short.memory.rested, node.name, short.now)


def resting(short: Shortage, node: NodeView) -> str:
    """Why a node that came home lately stays there for now; "" where it did not."""
    until = rests_until(short, node)
    return "" if until is None else f"came home lately and rests {until - short.now:.0f} s more"


def unsuitable(short: Shortage, node: NodeView) -> str:
    """Why no serving pod would fit on the node; "" where one does."""
    wanted, asked = short.policy.gpus_per_pod, short.seen.gpu_kinds
    if asked and node.gpu_kinds and not asked & node.gpu_kinds:
        return f"offers {', '.join(sorted(node.gpu_kinds))}, serving pods ask for {', '.join(sorted(asked))}"
    fits, gpus = node.pods_for(asked, wanted), short.seen.gpus_of(node)
    return "" if fits else f"has {counted(gpus, 'GPU')}, a serving pod needs {wanted}"
