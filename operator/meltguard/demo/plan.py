"""Who asks for what, and when: settled before the first request is sent, so that no answer can slow the asking."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

from meltguard.core.units import Gpus, Seconds, Share, TierName
from meltguard.sim.recording import Recording
from meltguard.sim.spread import seeded

FREE, PLUS, PRO = TierName("free"), TierName("plus"), TierName("pro")
PAID: Final = frozenset({PLUS, PRO})
FEATURE: Final = "image-edit"
"""The new feature, which some users use in all their requests."""

FREE_IMAGES_A_DAY: Final = 3
PLUS_SHARE, PRO_SHARE = Share(0.08), Share(0.02)
"""Of the users, drawn by the seed and the user's name."""

EDITOR_SHARE: Final = Share(0.2)
"""Of the users: their requests use the new feature."""

TRY_ONCE_MORE: Final = Share(0.3)
"""Of the free users whose day is used up: they ask all the same, once."""

COME_AGAIN: Final = Share(0.2)
"""Of the users: refused, they ask again when the answer says so, with the same idempotency key."""

AT_ONCE: Final = 40
"""Users who are in the middle of their requests at any time: whose request comes next is drawn among them."""

SAMPLE: Final = 2_000
MOST_REQUESTS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Surge:
    """What is asked of the service. Times on this machine's clock."""

    seed: int
    speed: float
    base_gpus: Gpus  # that the service owns
    peak: float  # offered GPU time at the surge's peak, as a multiple of what `base_gpus` give
    lead_in: Seconds  # of quiet before the surge
    length: Seconds  # of the recorded shape
    tail: Seconds  # of quiet after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One request to be sent."""

    at: Seconds  # since the start of the lead-in
    user: str
    tier: TierName
    images: int
    key: str  # idempotency key
    comes_again: bool
    feature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One user and the requests that this user will send, as images a request."""

    name: str
    tier: TierName
    requests: tuple[int, ...]
    over_quota: bool  # the last request asks for more than the day has left
    comes_again: bool
    feature: str = ""  # that all of them use


def people(recording: Recording, seed: int) -> Iterator[Person]:
    """Users without end, each new one with requests as a recorded user's.

    A free user asks for at most three images at a time, since more could never be granted, and stops when the day is
    used up; some try once more all the same.
    """
    chance = seeded(seed, "people")
    for number in count(1):
        requests = recording.user(chance)
        tier = _tier(Share(chance.random()))
        again = chance.random() < COME_AGAIN
        tries = chance.random() < TRY_ONCE_MORE
        feature = FEATURE if chance.random() < EDITOR_SHARE else ""
        kept, over = within_quota(requests, tries_once_more=tries) if tier == FREE else (requests, False)
        yield Person(
            name=f"{tier}-{number:05}",
            tier=tier,
            requests=kept,
            over_quota=over,
            comes_again=again,
            feature=feature,
        )


def _tier(drawn: Share) -> TierName:
    """The tier of a user by where they were drawn between 0 and 1."""
    if drawn < PRO_SHARE:
        return PRO
    return PLUS if drawn < PRO_SHARE + PLUS_SHARE else FREE


def within_quota(requests: tuple[int, ...], *, tries_once_more: bool) -> tuple[tuple[int, ...], bool]:
    """A free user's requests of one day, and whether the last one goes over.

    >>> within_quota((1, 8, 1), tries_once_more=True)
    ((1, 3), True)
    >>> within_quota((1, 8, 1), tries_once_more=False)
    ((1,), False)
    """
    kept: list[int] = []
    for asked in requests:
        images = min(asked, FREE_IMAGES_A_DAY)
        if sum(kept) + images > FREE_IMAGES_A_DAY:
            return ((*kept, images), True) if tries_once_more else (tuple(kept), False)
        kept.append(images)
    return tuple(kept), False


def gpu_seconds_a_request(recording: Recording, seed: int) -> Seconds:
    """Mean real GPU seconds of a request of these people; what goes over a quota costs none."""
    users = people(recording, seed)
    sample = [next(users) for _ in range(SAMPLE)]
    times = {size: recording.mean_service_time(size) for size in {n for user in sample for n in user.requests}}
    paid = sum(times[n] for user in sample for n in (user.requests[:-1] if user.over_quota else user.requests))
    return Seconds(paid / sum(len(user.requests) for user in sample))


def peak_rate(surge: Surge, recording: Recording) -> float:
    """Requests a second at the peak."""
    return surge.peak * surge.base_gpus * surge.speed / gpu_seconds_a_request(recording, surge.seed)


def plan(surge: Surge, recording: Recording) -> tuple[Planned, ...]:
    """Every request, in the order of sending: Poisson arrivals along the shape, users as recorded."""
    requests = _requests(recording, surge.seed)
    times = _arrivals(surge, peak_rate(surge, recording), recording)
    return tuple(
        Planned(
            at=at,
            user=who.name,
            tier=who.tier,
            images=images,
            key=f"{surge.seed}-{i}",
            comes_again=who.comes_again,
            feature=who.feature,
        )
        for i, (at, (who, images)) in zip(range(MOST_REQUESTS), zip(times, requests, strict=False), strict=False)
    )


def _arrivals(surge: Surge, most: float, recording: Recording) -> Iterator[Seconds]:
    chance = seeded(surge.seed, "arrivals")
    end = surge.lead_in + surge.length + surge.tail
    at = chance.expovariate(most)
    while at < end:
        if chance.random() < recording.envelope.at(Share((at - surge.lead_in) / surge.length)):
            yield Seconds(at)
        at += chance.expovariate(most)


def _requests(recording: Recording, seed: int) -> Iterator[tuple[Person, int]]:
    users = people(recording, seed)
    chance = seeded(seed, "turns")
    present = [_turns(next(users)) for _ in range(AT_ONCE)]
    while True:
        place = _drawn(present, chance)
        asked = next(present[place], None)
        if asked is None:
            present[place] = _turns(next(users))
        else:
            yield asked


def _turns(user: Person) -> Iterator[tuple[Person, int]]:
    return ((user, images) for images in user.requests)


def _drawn(present: list[Iterator[tuple[Person, int]]], chance: Random) -> int:
    return int(chance.random() * len(present))
