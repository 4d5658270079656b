"""New features fade as the level rises: the first thing that a surge takes back, before any tier is limited."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from meltguard.core.decision import FeatureShare
from meltguard.core.level import LevelNow
from meltguard.core.memory import Slowed
from meltguard.core.policy import Feature, Level, Policy
from meltguard.core.units import Instant, Percent

ALL_USERS = Percent(100)
MOST_KNOWN: Final = 16_384
"""Users' places are looked up, not hashed anew, for so many who asked last: nearly all requests are a few users'."""

LONGEST_KNOWN: Final = 256  # of a user's name, so that what is kept stays small whatever names are made up


def feature_shares(
    policy: Policy, level: LevelNow, before: Mapping[str, Slowed], now: Instant
) -> tuple[tuple[FeatureShare, ...], dict[str, Slowed]]:
    """Each feature's share of users at a level with its reason, and what to remember of it."""
    shares = tuple(_share_now(feature, level, before.get(feature.name), now) for feature in policy.features)
    slowed = {one.name: Slowed(share=one.share, since=one.since) for one in shares if one.since is not None}
    return shares, slowed


def share_at(feature: Feature, level: Level) -> Percent:
    """The share of users who have a feature at a level; a level that names none keeps the milder one's share."""
    named = [(at, share) for at, share in feature.rollout.items() if at <= level]
    return max(named, key=lambda pair: pair[0])[1] if named else ALL_USERS


def fading(shares: Mapping[str, int]) -> dict[str, int]:
    """The features that not every user has.

    >>> fading({"edit": 100, "upscale": 50})
    {'upscale': 50}
    """
    return {feature: share for feature, share in shares.items() if share < ALL_USERS}


def has_feature(feature: str, user: str, share: Percent) -> bool:
    """Whether a user is among the share that has a feature.

    Each user has a place from 0 to 99 of their own for each feature: who loses it as the share shrinks gets it back as
    it grows, in the opposite order, and the same users do not go without every feature.
    """
    if share >= ALL_USERS:
        return True
    place = _known_place(feature, user) if len(user) <= LONGEST_KNOWN else _place(feature, user)
    return place < share


def _place(feature: str, user: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{feature}/{user}".encode(), digest_size=8).digest()) % 100


_known_place: Final = lru_cache(maxsize=MOST_KNOWN)(_place)


def _share_now(feature: Feature, now_level: LevelNow, before: Slowed | None, now: Instant) -> FeatureShare:
    level = now_level.level
    share, usual = share_at(feature, level), share_at(feature, Level.NORMAL)
    if share >= usual:
        return FeatureShare(name=feature.name, share=share, since=None, cause="", lifts_when="")
    since = before.since if before is not None and before.share == share else now
    wider = next(at for at in reversed(Level) if at < level and share_at(feature, at) > share)
    then = "" if now_level.forced else f"; {share_at(feature, wider)}% of users then"
    return FeatureShare(
        name=feature.name,
        share=share,
        since=since,
        cause=f"{now_level.named} leaves feature {feature.name} to {share}% of users instead of {usual}%",
        lifts_when=f"{now_level.falls_below(Level(wider + 1))}{then}",
        until=now_level.until,
    )
