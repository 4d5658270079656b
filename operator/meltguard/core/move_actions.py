"""What can be asked of a node's move, and what it can ask to be done next."""

from dataclasses import dataclass, field
from enum import StrEnum

from meltguard.core.fleet import Claim, Guards, PodView
from meltguard.core.units import Instant, NodeName


class Wanted(StrEnum):
    """Where a claimed node is to go."""

    OUT = "Out"  # to the borrower, or to stay there
    HOME = "Home"
    ABANDONED = "Abandoned"  # home too; the policy that would take its pods away is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Where to, and why in words (kept on the node when it is recalled)."""

    wanted: Wanted
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a step is decided on besides the node itself: the time, and what guards its pods. Read afresh."""

    now: Instant
    guards: Guards = field(default_factory=Guards)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enter:
    """Write this claim, with its step's effect."""

    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The node is as found: put other owners' marks back and take the claim off."""

    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Tell these pods that they will be evicted, so that they can save their work."""

    node: NodeName
    pods: tuple[PodView, ...]
    move_id: str
    asked_at: Instant
    evict_after: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Take the notice back from these pods: they stay."""

    node: NodeName
    pods: tuple[PodView, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evict:
    """Ask these pods to leave, through the Eviction API."""

    node: NodeName
    pods: tuple[PodView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to write now; `why` says what is awaited and until when."""

    node: NodeName
    why: str


MoveAction = Enter | Release | Notify | Withdraw | Evict | Wait
