"""What happens to the world beside its users, by time: nodes are lost, lent, heated; the operator dies."""

from dataclasses import dataclass

from meltguard.core.units import Celsius, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Nodes stop serving for a span: what runs there ends well, what waits there goes elsewhere."""

    nodes: tuple[int, ...]
    since: Seconds
    until: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """A node joins for a span; its pods are Ready once the model is loaded."""

    claimed: Seconds
    load: Seconds
    until: Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Heat:
    """A node's cooling is worse for a span: at work its cards settle at this temperature."""

    node: int
    since: Seconds
    until: Seconds
    loaded: Celsius


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The operator is gone for a span, and comes back with its memory or without."""

    at: Seconds
    down: Seconds
    remembers: bool


Change = Loss | Loan | Heat | Restart
