"""What a loan relieves and what it harms, in words."""

from collections.abc import Mapping, Sequence

from meltguard.core.decision import Borrow, Shortage
from meltguard.core.fleet import Claim
from meltguard.core.harm import HOUR, Loss
from meltguard.core.units import Instant, NodeName, PoolName
from meltguard.core.victims import Choice, Place, Refusal, in_gpus
from meltguard.core.wording import counted, listed, per_minute, when


def plan_in_words(plan: Sequence[Borrow]) -> str:
    """Which nodes for how much work: `gpu-3, gpu-4 of pool research for 2.4 GPU-hours of work (Job lab/train)`."""
    pools = ", ".join(dict.fromkeys(borrow.home for borrow in plan))
    said = f"{', '.join(borrow.node for borrow in plan)} of pool {pools}"
    victims = list(dict.fromkeys(name for borrow in plan for name in borrow.victims))
    if not victims:
        return f"{said}, idle"
    return f"{said} for {sum(borrow.work_lost for borrow in plan):.1f} GPU-hours of work ({', '.join(victims)})"


def taken_in_words(place: Place, borrow: Borrow, losses: Sequence[Loss], choice: Choice) -> str:
    """One node's relief against its harm; `losses` are those that no node taken before it causes already."""
    missing = choice.need.missing
    relief = min(place.worth, missing)
    share = f"{in_gpus(relief)} of {missing} missing GPUs ({relief / missing:.0%})"
    said = f"{borrow.node} of pool {borrow.home} relieves {share}"
    if not place.node.movable_pods:
        return f"{said} and is idle"
    told = {loss.work.name for loss in losses}
    words = [_loss(loss, choice.stakes.now) for loss in losses]
    words += [f"the rest of {name}" for name in borrow.victims if name not in told]
    also = f"; stops {listed(borrow.gang_elsewhere)} too" if borrow.gang_elsewhere else ""
    return f"{said} for {borrow.work_lost:.1f} GPU-hours of work: {listed(words)}{also}"


def refusals_in_words(refused: Mapping[NodeName, Refusal]) -> str:
    """Why nodes were left."""
    told = [f"{name} {refusal.text}" for name, refusal in refused.items()]
    return listed(told, apart="; ") if told else "no other node may be lent now"


def still_missing(left: float, refused: Mapping[NodeName, Refusal]) -> str:
    """What the plan leaves open; "" where it covers everything."""
    many = in_gpus(left)
    stay = "GPU stays" if many == "1" else "GPUs stay"
    return f"; {many} {stay} missing: {refusals_in_words(refused)}" if left else ""


def _loss(loss: Loss, now: Instant) -> str:
    work = loss.work
    if loss.fails:
        since = "fails as a whole, so all since its start counts"
    elif work.broken:
        since = "is broken off already"
    else:
        since = "never saved" if work.saved is None else f"saved {_ago(max(0.0, now - work.saved))} ago"
    return f"{work.name} ({loss.hours:.1f} GPU-hours, {since})"


def _ago(seconds: float) -> str:
    if seconds < HOUR:
        return f"{seconds / 60.0:.0f} min"
    return f"{seconds / HOUR:.1f} h"


def lent_words(node: NodeName, claim: Claim) -> str:
    """A node serves the borrower."""
    return f"{node} is lent by {claim.home} to {claim.to} for {claim.policy}"


def recalled_words(node: NodeName, claim: Claim) -> str:
    """A node goes home."""
    return f"{node} goes home to {claim.home}: {claim.why}"


def shortage_in_words(short: Shortage) -> str:
    """What the service lacks: `4 GPUs are missing for a demand of 540/m`."""
    missing = counted(short.missing, "GPU is", "GPUs are") + " missing"
    if short.planned:
        return f"{missing}: {short.seen.plan.why}"
    grows = "" if short.foreseen is None else f", {per_minute(short.foreseen)} by the time a node serves"
    return f"{missing} for a demand of {per_minute(short.demand)}{grows}"


def borrowed_words(node: NodeName, claim: Claim) -> str:
    """A node has been chosen, and its move begins: why, whose work it breaks off, and when it ends."""
    said = [f"{node} is borrowed from {claim.home} for {claim.policy}" + (f": {claim.cause}" if claim.cause else "")]
    if claim.drain is not None and claim.drain.victims:
        lost = f"{claim.drain.work_lost:.1f} GPU-hours of unsaved work"
        said.append(f"it breaks off {listed(claim.drain.victims)}, {lost}")
    said.append(f"it goes home once the service stays calm without it, at {when(claim.due)} at the latest")
    return "; ".join(said)


def gone_words(node: NodeName, home: PoolName) -> str:
    """A loan is over, and the node did not go home."""
    return f"the loan of {node} by {home} is over: the node is gone"


def home_words(node: NodeName, home: PoolName) -> str:
    """A loan is over."""
    return f"{node} is home in {home}"
