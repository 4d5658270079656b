"""What the simulator needs of a serving pod's agent, in its own words. The agent's real gate stands behind it."""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from meltguard.core.grant import Grant
from meltguard.core.load import AgentCounters
from meltguard.core.units import Gpus, PodUid, Seconds
from meltguard.sim.requests import Request


class Placed(Enum):
    """What a door says to a request."""

    ENTERED = auto()
    WAITING = auto()
    REFUSED = auto()


class Door(Protocol):
    """One pod's admission. Times are arguments, on one clock that never jumps; requests go by their numbers."""

    def obey(self, grant: Grant, at: Seconds) -> Sequence[int]:
        """Keep these limits from now on; the waiting requests that they turn away."""
        ...

    def offer(self, request: Request, at: Seconds) -> Placed:
        """A request comes."""
        ...

    def advance(self, at: Seconds) -> Sequence[int]:
        """Let in whoever may enter now."""
        ...

    def next_turn(self, at: Seconds) -> Seconds | None:
        """Seconds until time alone lets someone in; None where only a freed GPU can."""
        ...

    def leave(self, number: int, at: Seconds) -> bool:
        """A waiting request goes away; False where it does not wait any more."""
        ...

    def finish(self, number: int, took: Seconds, at: Seconds) -> None:
        """A request's images are done."""
        ...

    def waiting(self) -> Sequence[int]:
        """Who waits."""
        ...

    def counters(self, at: Seconds) -> AgentCounters:
        """What the agent would report."""
        ...


DoorMaker = Callable[[PodUid, Gpus, Seconds], Door]
"""Makes the door of a pod that starts."""
