"""What people ask for: requests along the surge, each with its images and the GPU time that they take."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from heapq import merge
from random import Random

from meltguard.core.units import Seconds, Share, TierName, Units
from meltguard.rehearse.fleet_plan import ServicePlan
from meltguard.rehearse.surge import Surge
from meltguard.sim.fitted import from_figures, shipped
from meltguard.sim.recording import Recording, batch_class
from meltguard.sim.requests import Request, Stream, numbered, streamed

Work = Callable[[Random], tuple[Units, Seconds]]


def requests_of(surge: Surge, service: ServicePlan, seed: int) -> Iterator[Request]:
    """All requests of all tiers, in the order of their coming."""
    work = work_of(service)
    streams = (_stream(surge, tier, work) for tier in surge.rates)
    return numbered(merge(*(streamed(one, surge.until, seed) for one in streams)))


def _stream(surge: Surge, tier: TierName, work: Work) -> Stream:
    return Stream(tier=tier, rate=lambda at: surge.rate(tier, at), most=max(surge.rates[tier]), work=work)


def work_of(service: ServicePlan) -> Work:
    """What one request costs: one image, all alike, where the fleet says how long it takes; else as was recorded."""
    if service.seconds_per_image is not None:
        each = Seconds(service.seconds_per_image)
        return lambda _: (Units(1.0), each)
    recording, batches = recorded(), _batches()
    sizes, weights = list(batches), list(batches.values())

    def drawn(chance: Random) -> tuple[Units, Seconds]:
        (images,) = chance.choices(sizes, weights)
        return Units(float(images)), recording.service_time(images, chance)

    return drawn


def mean_seconds(service: ServicePlan) -> Seconds:
    """GPU time of one request, as a mean."""
    if service.seconds_per_image is not None:
        return Seconds(service.seconds_per_image)
    return Seconds(sum(share * recorded().mean_service_time(size) for size, share in _batches().items()))


def mean_units(service: ServicePlan) -> Units:
    """Image units of one request, as a mean."""
    if service.seconds_per_image is not None:
        return Units(1.0)
    return Units(sum(share * size for size, share in _batches().items()))


@cache
def recorded() -> Recording:
    """The figures that ship with the package."""
    return from_figures(shipped())


@cache
def _batches() -> Mapping[int, Share]:
    """How often a request asks for how many images, in the sizes whose times are known: 1, 2, 4 and 8."""
    shares: dict[int, Share] = {}
    for images, share in recorded().images.items():
        shares[batch_class(images)] = Share(shares.get(batch_class(images), 0.0) + share)
    return shares
