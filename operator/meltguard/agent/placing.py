"""What a request asks of the gate, and what the gate may answer."""

from dataclasses import dataclass
from typing import NamedTuple

from meltguard.agent.refusal import Reason
from meltguard.agent.turns import Ticket
from meltguard.core.units import Seconds, TierName, Units


@dataclass(slots=True, eq=False)
class Slot:
    """One request in the GPU. It is held as long as the request lives, never by a timer."""

    tier: TierName
    units: Units
    since: Seconds


@dataclass(frozen=True, slots=True)
class Hindrance:
    """Why a request may not enter, and in how many seconds it may be otherwise (None: nobody knows)."""

    reason: Reason
    wait: Seconds | None = None


class Wish(NamedTuple):
    """A request, as far as the gate is concerned."""

    tier: TierName
    units: Units
    user: str = ""  # whose turn it is


Placed = Slot | Ticket | Hindrance


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a waiting request may expect if nobody more important comes."""

    position: int  # 1 is the next of all that wait
    wait: Seconds  # estimate
