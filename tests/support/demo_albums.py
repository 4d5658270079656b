"""Made-up pictures of a run, second by second, for what is drawn and shown of them."""

from dataclasses import replace

from meltguard.api.levels import LevelName
from meltguard.api.policy_status import DecisionStatus, LimitStatus, PolicyStatus
from meltguard.core.policy import TierState
from meltguard.core.units import Seconds
from meltguard.demo.tail import TierNow
from meltguard.demo.watch import NodeNow, Picture

NODE = NodeNow(
    name="gpu-01",
    pool="inference",
    home="inference",
    step="",
    cordoned=False,
    serving=8,
    starting=0,
    other=0,
    hottest=75.0,
    busy=90.0,
    counted=1.0,
)


def an_album(length: int = 95) -> list[tuple[Seconds, Picture]]:
    """A picture every second, of nodes that grow warm, one of them hot, and of one that is borrowed."""
    return [(Seconds(float(at)), a_picture(float(at))) for at in range(-10, length)]


def a_picture(at: float) -> Picture:
    """One moment."""
    pressed = 9.0 <= at < 60.0
    lent = replace(NODE, name="c", home="research", step="Lent" if pressed else "", pool="research", serving=8)
    limit = LimitStatus(
        tier="free",
        state=TierState.DELAY if pressed else TierState.OPEN,
        rate="12/m" if pressed else "none",
        demand="240/m",
    )
    status = PolicyStatus(
        level=LevelName.ELEVATED if pressed else LevelName.NORMAL,
        limits=(limit,),
        decision=DecisionStatus(
            at="1970-01-01T00:16:40Z", ready_pods=32, answering_pods=32, demand="240/m", capacity="120/m"
        ),
    )
    hot = replace(NODE, name="gpu-02", hottest=88.0 if pressed else 70.0, counted=0.75 if pressed else 1.0)
    tiers = tuple(_now(tier) for tier in ("free", "plus", "pro"))
    return Picture(nodes=(NODE, hot, lent), policy=status, tiers=tiers)


def _now(tier: str) -> TierNow:
    return TierNow(tier=tier, admitted=6.0, refused=1.0, reason="", wait_p50=Seconds(0.1), wait_p99=Seconds(1.0))
