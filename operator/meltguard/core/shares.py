"""A tier's limit divided over its pods, so that the shares never sum to more than the limit, also in mid-push.

Decreases go first, increases after they are acknowledged. A pod that does not answer counts at what it last held
until its lease ends, then at its baseline's, and holds nobody else up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from meltguard.core.units import PodUid, UnitsPerSecond

EVENLY = 0.5
"""This part of a limit is divided evenly: a pod that no request has reached yet can start, and chance weighs less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldShare:
    """What a pod enforces for one tier now. `rate` None is no limit."""

    rate: UnitsPerSecond | None


def weights(arrivals: Mapping[PodUid, float], pods: Sequence[PodUid]) -> dict[PodUid, float]:
    """Each pod's part of a tier, by where its requests arrive; the parts sum to 1."""
    if not pods:
        return {}
    total = sum(arrivals.get(pod, 0.0) for pod in pods)
    even = 1.0 / len(pods)
    return {
        pod: EVENLY * even + (1.0 - EVENLY) * (arrivals.get(pod, 0.0) / total if total > 0 else even) for pod in pods
    }


def shares(
    limit: UnitsPerSecond, parts: Mapping[PodUid, float], silent: Mapping[PodUid, float]
) -> dict[PodUid, UnitsPerSecond]:
    """Each answering pod's rate: the limit less what silent pods may still be using, divided by `parts`."""
    left = max(0.0, limit - sum(silent.values()))
    answering = {pod: part for pod, part in parts.items() if pod not in silent}
    whole = sum(answering.values())
    return {pod: UnitsPerSecond(left * part / whole) for pod, part in answering.items()} if whole > 0 else {}


def room_after(
    limit: UnitsPerSecond, wanted: Mapping[PodUid, UnitsPerSecond], held: Mapping[PodUid, HeldShare]
) -> dict[PodUid, UnitsPerSecond]:
    """The second phase: increases, scaled so that all that is held then fits the limit.

    `held` is what every pod enforces after the first phase; a pod that missed it counts at its old share.
    """
    base = {pod: _lesser(rate, held.get(pod)) for pod, rate in wanted.items()}
    absent = sum(share.rate for pod, share in held.items() if pod not in wanted and share.rate is not None)
    stuck = sum(max(0.0, _rate(held.get(pod), rate) - rate) for pod, rate in wanted.items())
    room = max(0.0, limit - sum(base.values()) - absent - stuck)
    asked = sum(rate - base[pod] for pod, rate in wanted.items())
    part = min(1.0, room / asked) if asked > 0 else 0.0
    return {pod: UnitsPerSecond(base[pod] + part * (rate - base[pod])) for pod, rate in wanted.items()}


def _lesser(rate: UnitsPerSecond, held: HeldShare | None) -> UnitsPerSecond:
    if held is None or held.rate is None:
        return rate
    return min(rate, held.rate)


def _rate(held: HeldShare | None, otherwise: UnitsPerSecond) -> float:
    return otherwise if held is None or held.rate is None else held.rate
