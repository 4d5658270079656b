"""The surge that flags ask for: read from where it is, divided among the tiers, scaled, and drawn out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from meltguard.api.quantities import parse_duration, parse_instant, parse_share
from meltguard.core.policy import Policy
from meltguard.core.units import Instant, Seconds, Share, TierName
from meltguard.core.wording import per_minute
from meltguard.errors import InvalidInput
from meltguard.rehearse.fleet_plan import FleetPlan
from meltguard.rehearse.manifests import Manifests
from meltguard.rehearse.rehearsal import own_rate
from meltguard.rehearse.shapes import SHAPES, read_shape
from meltguard.rehearse.surge import Recorded, Surge, by_tier, cut, default_shares, scaled
from meltguard.rehearse.surge_csv import Columns, read_csv

MONDAY: Final = "2026-03-02T09:00:00Z"
"""When a surge begins whose record tells no time of day: windows and calendars go by it."""

SHAPE_PEAK: Final = "2.5x"
"""Of a shape that nobody scaled."""

LONGEST: Final = Seconds(14 * 86_400.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRange:
    """A range of a Prometheus, as flags say it; a file is cut by its times alone."""

    url: str = ""
    query: str = ""
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSurge:
    """A surge as flags say it; "" is what nobody said."""

    source: str = "flash-crowd"  # a file or a shape
    columns: Columns
    prometheus: AskedRange
    tiers: str = ""
    peak: str = ""
    begins: str = MONDAY
    then: str = "0s"


def read_surge(asked: AskedSurge) -> Recorded:
    """The record. Raises InvalidInput or Unavailable; the text names the flag."""
    if asked.prometheus.url:
        return _from_prometheus(asked.prometheus)
    if asked.prometheus.query:
        raise InvalidInput("--query is for a Prometheus; name it with --prometheus URL")
    if asked.source in SHAPES:
        return read_shape(asked.source)
    path = Path(asked.source)
    if not path.suffix and not path.exists():
        return read_shape(asked.source)
    return _window(read_csv(path, asked.columns), asked.prometheus)


def _window(recorded: Recorded, asked: AskedRange) -> Recorded:
    """A file between --from and --to; whichever is not said is its own end."""
    if not asked.since and not asked.until:
        return recorded
    since = flag(asked.since, "--from", parse_instant) if asked.since else Instant(-math.inf)
    until = flag(asked.until, "--to", parse_instant) if asked.until else Instant(math.inf)
    return cut(recorded, since, until)


def surge_for(manifests: Manifests, fleet: FleetPlan, asked: AskedSurge, recorded: Recorded) -> Surge:
    """What this policy's tiers ask for along the record. Raises InvalidInput; the text names the flag."""
    policy = manifests.policy.policy
    shares = _shares(asked.tiers) if asked.tiers else default_shares(policy)
    surge = Surge(
        source=recorded.source,
        times=recorded.times,
        rates=by_tier(recorded, policy, shares),
        until=Seconds(recorded.until + flag(asked.then, "--then", parse_duration)),
        dawn=recorded.dawn if recorded.dawn is not None else flag(asked.begins, "--begins", parse_instant),
    )
    if surge.until > LONGEST:
        raise InvalidInput(f"{surge.source}: lasts {surge.until / 86_400:.0f} days, at most 14 are rehearsed; cut it")
    peak = asked.peak or (SHAPE_PEAK if asked.source in SHAPES and not asked.prometheus.url else "")
    return scaled(surge, _peak(peak, own_rate(manifests, fleet))) if peak else surge


def flag(text: str, name: str, read: Callable[[str], Any]) -> Any:
    """A flag's value. Raises InvalidInput with the flag's name where it cannot be read."""
    try:
        return read(text)
    except (InvalidInput, ValueError) as exc:
        raise InvalidInput(f"{name} {text!r}: {exc}") from exc


def note_of(asked: AskedSurge, recorded: Recorded, policy: Policy) -> tuple[str, ...]:
    """What was assumed of the record, as sentences."""
    if asked.tiers or "" not in recorded.rates:
        return ()
    shares = ", ".join(f"{name} {share:.0%}" for name, share in default_shares(policy).items())
    return (f"the record tells no tiers: taken as {shares} of the requests (--tiers says otherwise)",)


def capped(policy: Policy, surge: Surge, units: float) -> tuple[str, ...]:
    """Tiers whose own maximum refuses what they ask for, whatever the GPUs could do; `units` are a request's."""
    said: list[str] = []
    for tier in policy.tiers:
        rates = surge.rates[tier.name]
        over = sum(tier.max_rate is not None and rate * units > tier.max_rate for rate in rates)
        if over and tier.max_rate is not None:
            most, own = per_minute(max(rates) * units), per_minute(tier.max_rate)
            share = f"in {over / len(rates):.0%} of the record (up to {most})"
            said.append(
                f"tier {tier.name} asks for more than its own max of {own} {share}: the rest is shed, however many "
                "GPUs there are"
            )
    return tuple(said)


def with_notes(manifests: Manifests, notes: tuple[str, ...]) -> Manifests:
    """The manifests, with more that is taken otherwise than it is written."""
    return replace(manifests, notes=(*manifests.notes, *notes))


def _from_prometheus(asked: AskedRange) -> Recorded:
    for name, text in (("--query", asked.query), ("--from", asked.since), ("--to", asked.until)):
        if not text:
            raise InvalidInput(f"--prometheus needs {name} as well, such as {EXAMPLES[name]}")
    since, until = (flag(text, name, parse_instant) for name, text in (("--from", asked.since), ("--to", asked.until)))
    late = import_module("meltguard.rehearse.surge_prometheus")  # its library is slow to load and seldom needed
    recorded: Recorded = late.read_prometheus(
        late.Range(url=asked.url, query=asked.query, since=Instant(since), until=Instant(until))
    )
    return recorded


EXAMPLES: Final[Mapping[str, str]] = {
    "--query": "--query 'sum by (tier) (rate(meltguard_agent_offered_total[1m]))'",
    "--from": "--from 2026-03-02T09:00:00Z",
    "--to": "--to 2026-03-02T12:00:00Z",
}


def _shares(text: str) -> Mapping[TierName, Share]:
    shares: dict[TierName, Share] = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        share = flag(number, f"--tiers {name}=", _share)
        shares[TierName(name)] = share
    total = sum(shares.values())
    if abs(total - 1.0) > 0.01:  # noqa: PLR2004 - thirds are written as 0.33
        raise InvalidInput(f"--tiers {text!r}: the shares add up to {total:g}; let them add up to 1")
    return shares


def _share(text: str) -> Share:
    share = parse_share(text) if text.endswith("%") else Share(float(text))
    if not 0 <= share <= 1:
        raise ValueError("a share is from 0 to 1, or a percentage")
    return share


def _peak(text: str, own: float) -> float:
    """Requests a second; `own` is what the service's own GPUs do."""
    number = flag(text.removesuffix("x"), "--peak", float)
    if not 0 < number < 1e6:  # noqa: PLR2004 - more is no service
        raise InvalidInput(f"--peak {text!r}: write requests a second, such as 40, or 2.5x what the own GPUs do")
    return float(number * own if text.endswith("x") else number)
