"""A recorded surge: how many requests a second each tier sends, by time."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from meltguard.core.policy import Policy
from meltguard.core.units import Instant, Seconds, Share, TierName
from meltguard.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """As it was read: one series, or one for each tier. A rate holds until the next time."""

    source: str  # in words, for the report
    times: tuple[Seconds, ...]  # ascending, from 0
    rates: Mapping[str, tuple[float, ...]]  # requests a second; "" is all tiers together
    until: Seconds  # where the last rate ends
    dawn: Instant | None  # the time of day of the first row; None where the record tells none


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """What the service is asked for."""

    source: str
    times: tuple[Seconds, ...]
    rates: Mapping[TierName, tuple[float, ...]]  # requests a second
    until: Seconds
    dawn: Instant

    def rate(self, tier: TierName, at: Seconds) -> float:
        """Requests a second of a tier at a time."""
        place = max(0, bisect_right(self.times, at) - 1)
        return self.rates[tier][place]

    def total(self, at: Seconds) -> float:
        """Of all tiers together."""
        return sum(self.rate(tier, at) for tier in self.rates)

    @property
    def peak(self) -> float:
        """The largest total."""
        return max(map(sum, zip(*self.rates.values(), strict=True)))


def cut(recorded: Recorded, since: Instant, until: Instant) -> Recorded:
    """The part of a record between two times of day. Raises InvalidInput where it has none, or tells no time of day."""
    if recorded.dawn is None:
        raise InvalidInput(f"{recorded.source}: tells no times of day, so --from and --to cannot cut it")
    begin, end = since - recorded.dawn, min(recorded.until, until - recorded.dawn)
    kept = [place for place, at in enumerate(recorded.times) if begin <= at < end]
    if not kept:
        raise InvalidInput(f"{recorded.source}: has nothing between --from and --to; check the times")
    start = recorded.times[kept[0]]
    return replace(
        recorded,
        times=tuple(Seconds(recorded.times[place] - start) for place in kept),
        rates={name: tuple(rates[place] for place in kept) for name, rates in recorded.rates.items()},
        until=Seconds(end - start),
        dawn=Instant(recorded.dawn + start),
    )


def by_tier(
    recorded: Recorded, policy: Policy, shares: Mapping[TierName, Share]
) -> Mapping[TierName, tuple[float, ...]]:
    """The record's rates for each of the policy's tiers.

    Raises:
        InvalidInput: the record's tiers are not the policy's, or the shares are none of its tiers.
    """
    known = [tier.name for tier in policy.tiers]
    if "" in recorded.rates:
        _check_tiers(shares, known, "--tiers")
        return {name: tuple(rate * shares.get(name, 0.0) for rate in recorded.rates[""]) for name in known}
    _check_tiers(recorded.rates, known, recorded.source)
    nothing = (0.0,) * len(recorded.times)
    return {name: recorded.rates.get(name, nothing) for name in known}


def _check_tiers(named: Iterable[str], known: Sequence[TierName], where: str) -> None:
    for name in named:
        if name not in known:
            raise InvalidInput(f"{where}: {name!r} is no tier of the policy; it has {', '.join(known)}")


def default_shares(policy: Policy) -> Mapping[TierName, Share]:
    """Nine in ten requests come from the tier of the lowest priority; the others share the rest evenly."""
    lowest, *others = sorted(policy.tiers, key=lambda tier: tier.priority)
    if not others:
        return {lowest.name: Share(1.0)}
    return {lowest.name: Share(0.9), **{tier.name: Share(0.1 / len(others)) for tier in others}}


def scaled(surge: Surge, peak: float) -> Surge:
    """The same shape, so that its highest total is `peak` requests a second. Raises InvalidInput where it is empty."""
    highest = surge.peak
    if highest <= 0:
        raise InvalidInput(f"{surge.source}: every rate is 0, so there is no surge to scale to --peak")
    factor = peak / highest
    return replace(surge, rates={tier: tuple(rate * factor for rate in rates) for tier, rates in surge.rates.items()})
