"""Who asks for what, and when, in simulated time: drawn beforehand from one seed, so that every law meets the same."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from meltguard.core.units import Gpus, Seconds, Share, TierName, Units
from meltguard.sim.recording import Recording
from meltguard.sim.spread import Envelope, seeded

AT_ONCE: Final = 100
"""Users who are in the middle of their requests at any time: whose request comes next is drawn among them."""

SAMPLE: Final = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request for images."""

    number: int  # unique within a run
    at: Seconds  # since the start
    tier: TierName
    units: Units  # what it costs, known on arrival
    seconds: Seconds  # of one GPU at full clocks, known only afterwards


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One tier whose requests are all alike, as in a textbook."""

    tier: TierName
    rate: Callable[[Seconds], float]  # requests a second, by time
    most: float  # that `rate` ever is
    seconds: Seconds  # of a GPU, each; one image unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """People as they were recorded: how many requests one sends, how many images each asks for, how long those take."""

    recording: Recording
    shares: tuple[tuple[TierName, Share], ...]  # of the users, drawn by the seed
    gpus: Gpus
    load: Envelope  # offered GPU time, as a share of the largest
    length: Seconds
    peak: float  # the largest, as a multiple of what the GPUs give
    base: float = 0.0  # offered beside the shape all the time, in the same unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One tier's requests along a record, each drawn as `work` says."""

    tier: TierName
    rate: Callable[[Seconds], float]  # requests a second, by time
    most: float  # that `rate` ever is
    work: Callable[[Random], tuple[Units, Seconds]]  # what one costs, and the seconds of a GPU that it takes


def streamed(stream: Stream, until: Seconds, seed: int) -> Iterator[tuple[Seconds, TierName, Units, Seconds]]:
    """A Poisson stream along the record; none where its rate is never more than 0."""
    chance = seeded(seed, "work", stream.tier)
    for at in _arrivals(stream.rate, stream.most, until, seeded(seed, "arrivals", stream.tier)) if stream.most else ():
        units, seconds = stream.work(chance)
        yield at, stream.tier, units, seconds


def alike(asked: Asked, until: Seconds, seed: int) -> Iterator[tuple[Seconds, TierName, Units, Seconds]]:
    """A Poisson stream of equal requests."""
    chance = seeded(seed, "arrivals", asked.tier)
    for at in _arrivals(asked.rate, asked.most, until, chance):
        yield at, asked.tier, Units(1.0), asked.seconds


def crowded(crowd: Crowd, seed: int) -> Iterator[tuple[Seconds, TierName, Units, Seconds]]:
    """A Poisson stream along the shape; users as recorded, each with a tier of its own."""
    chance = seeded(seed, "service")
    scale = crowd.gpus / mean_gpu_seconds(crowd.recording)

    def rate(at: Seconds) -> float:
        return scale * (crowd.base + crowd.peak * crowd.load.at(Share(at / crowd.length)))

    times = _arrivals(rate, scale * (crowd.base + crowd.peak), crowd.length, seeded(seed, "arrivals"))
    for at, (tier, images) in zip(times, _turns(crowd, seed), strict=False):
        yield at, tier, Units(float(images)), crowd.recording.service_time(images, chance)


def numbered(drawn: Iterator[tuple[Seconds, TierName, Units, Seconds]]) -> Iterator[Request]:
    """The requests, each with its number."""
    for number, (at, tier, units, seconds) in enumerate(drawn):
        yield Request(number=number, at=at, tier=tier, units=units, seconds=seconds)


def mean_gpu_seconds(recording: Recording) -> float:
    """Of one request, over many users; the same for every seed, so that a load means the same."""
    chance = seeded(0, "sample")
    sizes = [images for _ in range(SAMPLE) for images in recording.user(chance)]
    means = {size: recording.mean_service_time(size) for size in set(sizes)}
    return sum(means[size] for size in sizes) / len(sizes)


def _arrivals(rate: Callable[[Seconds], float], most: float, until: Seconds, chance: Random) -> Iterator[Seconds]:
    at = chance.expovariate(most)
    while at < until:
        if chance.random() * most < rate(Seconds(at)):
            yield Seconds(at)
        at += chance.expovariate(most)


def _turns(crowd: Crowd, seed: int) -> Iterator[tuple[TierName, int]]:
    """One request after the other of whoever is present; a user who is done makes room for the next."""
    users = _users(crowd, seed)
    chance = seeded(seed, "turns")
    present = [next(users) for _ in range(AT_ONCE)]
    while True:
        place = int(chance.random() * AT_ONCE)
        asked = next(present[place], None)
        if asked is None:
            present[place] = next(users)
        else:
            yield asked


def _users(crowd: Crowd, seed: int) -> Iterator[Iterator[tuple[TierName, int]]]:
    chance = seeded(seed, "users")
    names, weights = [tier for tier, _ in crowd.shares], [share for _, share in crowd.shares]
    for _ in count():
        sizes = crowd.recording.user(chance)
        (tier,) = chance.choices(names, weights)
        yield iter([(tier, size) for size in sizes])
