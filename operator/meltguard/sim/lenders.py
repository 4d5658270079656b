"""What lies around a simulated service: other people's nodes, which a decision may borrow and give back."""

from collections.abc import Callable
from typing import Protocol

from typing_extensions import override

from meltguard.core.decision import Decision
from meltguard.core.seen import Snapshot
from meltguard.core.units import Instant, NodeName, PodUid, Seconds


class Stage(Protocol):
    """What the lenders' side may do to the simulated service. Times are seconds since the start."""

    def at(self, at: Seconds, happens: Callable[[Seconds], None]) -> None:
        """Have something happen then."""
        ...

    def open(self, pod: PodUid, node: NodeName, at: Seconds) -> None:
        """A serving pod is Ready: its model is loaded, its agent answers."""
        ...

    def close(self, pod: PodUid, at: Seconds) -> None:
        """It takes no more requests: what runs there ends well, what waits there goes elsewhere."""
        ...

    def is_idle(self, pod: PodUid) -> bool:
        """Whether nothing runs in it any more."""
        ...

    def remove(self, pod: PodUid) -> None:
        """It is gone."""
        ...


class Lenders(Protocol):
    """Nodes that come and go by what is decided."""

    def begin(self, stage: Stage) -> None:
        """The run starts."""
        ...

    def shown(self, seen: Snapshot, now: Instant) -> Snapshot:
        """What a pass sees, with pools, loans and pods in it."""
        ...

    def decided(self, decision: Decision, at: Seconds) -> None:
        """A pass has decided."""
        ...


class Nobody(Lenders):
    """The service is alone: nodes come and go only as `changes` say."""

    @override
    def begin(self, stage: Stage) -> None:
        """Nothing starts."""

    @override
    def shown(self, seen: Snapshot, now: Instant) -> Snapshot:
        """As it was seen."""
        del now
        return seen

    @override
    def decided(self, decision: Decision, at: Seconds) -> None:
        """Nobody carries it out."""
