"""The decision's memory as it lies in status: one compact JSON text of at most 2 KiB."""

from typing import Annotated

from pydantic import Field, ValidationError

from meltguard.api.wire import MessageModel
from meltguard.core.chance import Excess
from meltguard.core.demand import SOME_EVIDENCE
from meltguard.core.forecast import Trend
from meltguard.core.loading import Loading
from meltguard.core.memory import Held, Memory, Recalled, Slowed
from meltguard.core.policy import Level
from meltguard.core.units import (
    Instant,
    NodeName,
    Percent,
    PoolName,
    Pressure,
    Seconds,
    Share,
    TierName,
    Units,
    UnitsPerSecond,
)

MAX_MEMORY_BYTES = 2048


class HeldText(MessageModel):
    """A tier's limit."""

    rate: float | None = None
    since: float | None = None
    cause: str = ""
    rising: bool = True
    turned: float | None = None
    law: bool = True


class MemoryText(MessageModel):
    """Short names: the text is for us, not for people."""

    level: int = Field(default=0, ge=0, le=3)
    level_since: float = 0.0
    in_force: tuple[Annotated[int, Field(ge=0, le=3)], float] | None = None
    risen: int = Field(default=0, ge=0, le=3)
    calm_since: float | None = None
    unknown_since: dict[str, float] = Field(default_factory=dict)
    decided_at: float | None = None
    agents_at: float | None = None
    units_per_gpu: float | None = Field(default=None, gt=0)
    evidence: float = Field(default=SOME_EVIDENCE, ge=0)
    speeds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    load: float | None = Field(default=None, gt=0)
    loads: int = Field(default=0, ge=0)
    trim: float = Field(default=1.0, ge=0.5, le=2.0)
    heat: float = Field(default=1.0, ge=0.0, le=1.0)
    demand: dict[str, float] = Field(default_factory=dict)
    trend: tuple[float, float, int, float, float] | None = None
    usual: float | None = Field(default=None, ge=0)
    usual_pressure: dict[str, float] = Field(default_factory=dict)
    surge_at: float | None = None
    limits: dict[str, HeldText] = Field(default_factory=dict)
    short_since: float | None = None
    excess: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spare_since: float | None = None
    breach_since: dict[str, float] = Field(default_factory=dict)
    confirmed_at: float | None = None
    replicas_found: int | None = None
    replicas_set: int | None = None
    replicas_before: int | None = None
    rested: dict[str, float] = Field(default_factory=dict)
    recalled: dict[str, tuple[float, int]] = Field(default_factory=dict)
    returned_at: float | None = None
    yielded: tuple[str, float] | None = None
    down_since: float | None = None
    slowed: dict[str, tuple[int, float]] = Field(default_factory=dict)


def write_memory(memory: Memory) -> str:
    """The text; causes are cut and rested nodes dropped, oldest first, until it fits."""
    rested = sorted(memory.rested.items(), key=lambda pair: pair[1], reverse=True)
    for most_rested, most_cause in ((32, 120), (8, 40), (0, 0)):
        text = _text(memory, dict(rested[:most_rested]), most_cause)
        if len(text) <= MAX_MEMORY_BYTES:
            return text
    return _text(memory, {}, 0)[:MAX_MEMORY_BYTES]


def read_memory(text: str | None) -> Memory:
    """The memory in a status; lost or damaged memory is a cautious start."""
    try:
        return _read(MemoryText.model_validate_json(text)) if text else Memory()
    except ValidationError:
        return Memory()


def _read(read: MemoryText) -> Memory:
    return Memory(
        level=Level(read.level),
        level_since=Instant(read.level_since),
        in_force=None if read.in_force is None else (Level(read.in_force[0]), Instant(read.in_force[1])),
        risen=Level(read.risen),
        calm_since=_instant(read.calm_since),
        unknown_since={name: Instant(at) for name, at in read.unknown_since.items()},
        decided_at=_instant(read.decided_at),
        agents_at=_instant(read.agents_at),
        units_per_gpu=None if read.units_per_gpu is None else UnitsPerSecond(read.units_per_gpu),
        evidence=Units(read.evidence),
        speeds={name: (UnitsPerSecond(rate), Units(of)) for name, (rate, of) in read.speeds.items() if rate > 0},
        loading=Loading(usual=None if read.load is None else Seconds(read.load), starts=read.loads),
        trim=read.trim,
        heat=Share(read.heat),
        demand={TierName(name): UnitsPerSecond(rate) for name, rate in read.demand.items()},
        trend=None if read.trend is None else _trend(*read.trend),
        usual=None if read.usual is None else UnitsPerSecond(read.usual),
        usual_pressure={name: Pressure(of) for name, of in read.usual_pressure.items()},
        surge_at=_instant(read.surge_at),
        limits={TierName(name): _held(held) for name, held in read.limits.items()},
        short_since=_instant(read.short_since),
        excess=Excess(*(Units(max(0.0, one)) for one in read.excess)),
        spare_since=_instant(read.spare_since),
        breach_since={PoolName(pool): Instant(at) for pool, at in read.breach_since.items()},
        confirmed_at=_instant(read.confirmed_at),
        replicas_found=read.replicas_found,
        replicas_set=read.replicas_set,
        replicas_before=read.replicas_before,
        rested={node: Instant(at) for node, at in read.rested.items()},
        recalled={PoolName(pool): Recalled(at=Instant(at), times=n) for pool, (at, n) in read.recalled.items()},
        returned_at=_instant(read.returned_at),
        yielded=None if read.yielded is None else (NodeName(read.yielded[0]), Instant(read.yielded[1])),
        down_since=_instant(read.down_since),
        slowed={name: Slowed(share=Percent(share), since=Instant(at)) for name, (share, at) in read.slowed.items()},
    )


def _trend(demand: float, at: float, tellers: int, steady: float, rise: float) -> Trend:
    return Trend(demand=UnitsPerSecond(demand), at=Instant(at), tellers=tellers, steady=Instant(steady), rise=rise)


def _trend_text(trend: Trend) -> tuple[float, float, int, float, float]:
    return (round(trend.demand, 4), _rounded(trend.at), trend.tellers, _rounded(trend.steady), round(trend.rise, 6))


def _text(memory: Memory, rested: dict[str, Instant], most_cause: int) -> str:
    return MemoryText(
        level=int(memory.level),
        level_since=_rounded(memory.level_since),
        in_force=None if memory.in_force is None else (int(memory.in_force[0]), _rounded(memory.in_force[1])),
        risen=int(memory.risen),
        calm_since=_rounded_or_none(memory.calm_since),
        unknown_since={name: _rounded(at) for name, at in memory.unknown_since.items()},
        decided_at=_rounded_or_none(memory.decided_at),
        agents_at=_rounded_or_none(memory.agents_at),
        units_per_gpu=memory.units_per_gpu,
        evidence=round(memory.evidence, 1),
        speeds={name: (round(rate, 6), round(of, 1)) for name, (rate, of) in memory.speeds.items()},
        load=None if memory.loading.usual is None else round(memory.loading.usual, 2),
        loads=memory.loading.starts,
        trim=round(memory.trim, 4),
        heat=round(memory.heat, 4),
        demand={name: round(rate, 4) for name, rate in memory.demand.items()},
        trend=None if memory.trend is None else _trend_text(memory.trend),
        usual=None if memory.usual is None else round(memory.usual, 4),
        usual_pressure={name: round(of, 3) for name, of in memory.usual_pressure.items()},
        surge_at=_rounded_or_none(memory.surge_at),
        limits={name: _held_text(held, most_cause) for name, held in memory.limits.items()},
        short_since=_rounded_or_none(memory.short_since),
        excess=_excess(memory.excess),
        spare_since=_rounded_or_none(memory.spare_since),
        breach_since={pool: _rounded(at) for pool, at in memory.breach_since.items()},
        confirmed_at=_rounded_or_none(memory.confirmed_at),
        replicas_found=memory.replicas_found,
        replicas_set=memory.replicas_set,
        replicas_before=memory.replicas_before,
        rested={node: _rounded(at) for node, at in rested.items()},
        recalled={pool: (_rounded(one.at), one.times) for pool, one in memory.recalled.items()},
        returned_at=_rounded_or_none(memory.returned_at),
        yielded=None if memory.yielded is None else (memory.yielded[0], _rounded(memory.yielded[1])),
        down_since=_rounded_or_none(memory.down_since),
        slowed={name: (one.share, _rounded(one.since)) for name, one in memory.slowed.items()},
    ).model_dump_json(by_alias=True, exclude_none=True, exclude_defaults=True)


def _excess(excess: Excess) -> tuple[float, float, float]:
    return (round(excess.beyond, 3), round(excess.asked, 3), round(excess.variance, 3))


def _rounded(at: float) -> float:
    return round(at, 2)


def _rounded_or_none(at: Instant | None) -> float | None:
    return None if at is None else round(at, 2)


def _instant(at: float | None) -> Instant | None:
    return None if at is None else Instant(at)


def _held(held: HeldText) -> Held:
    return Held(
        rate=None if held.rate is None else UnitsPerSecond(held.rate),
        since=_instant(held.since),
        cause=held.cause,
        rising=held.rising,
        turned=_instant(held.turned),
        by_law=held.law,
    )


def _held_text(held: Held, most_cause: int) -> HeldText:
    return HeldText(
        rate=held.rate,
        since=_rounded_or_none(held.since),
        cause=held.cause[:most_cause],
        rising=held.rising,
        turned=_rounded_or_none(held.turned),
        law=held.by_law,
    )
