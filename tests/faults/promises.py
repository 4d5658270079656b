"""What the checker holds a run to, and what it finds broken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from faults.evidence import Deed, Node, Pod

IDENTITY: Final = "system:serviceaccount:meltguard-system:meltguard"
CORDON_TAINT: Final = "node.kubernetes.io/unschedulable"
OWNER_MARKS: Final = ("cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt")
ASKED: Final = "meltguard.io/checkpoint-asked-at"
EVICT_AFTER: Final = "meltguard.io/evict-after"
SAVED: Final = "meltguard.io/checkpoint-saved-at"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
HOMEWARD: Final = frozenset({"Recalled", "Restored", "Home"})
AWAY: Final = frozenset({"Relabelled", "Lent", "Recalled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """The numbers of one scenario; times in seconds."""

    identity: str = IDENTITY
    pool_key: str = "workload"
    home: str = "research"
    to: str = "inference"
    service: Mapping[str, str] = field(default_factory=lambda: {"app": "image-gen"})
    floor: int = 2
    max_loans: int = 1
    notice: float = 1.0
    rest: float = 60.0  # a node that came home is not taken again for so long
    lag: float = 1.0  # what happened so shortly before a write need not be known to its writer
    bind_lag: float = 0.5  # a pod that lands so shortly before a relabelling could not be seen
    step_slack: float = 30.0  # beyond a claim's own deadlines
    untrusted: tuple[tuple[float, float], ...] = ()  # when the service's signals said nothing
    notice_due: bool = False  # evictions on the way out must follow a notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One promise broken, and the audit event that proves it."""

    invariant: str  # S1 to S11, L1 to L5
    what: str
    event: str = ""  # auditID; "" where the harness itself saw it
    at: float = 0.0

    @override
    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}" + (f" (audit event {self.event})" if self.event else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One run: the cluster before it, everything written since, and what the harness saw from outside."""

    nodes: Mapping[str, Node]
    pods: Sequence[Pod]
    deeds: Sequence[Deed]


def broken(invariant: str, what: str, deed: Deed) -> Finding:
    """A finding that a write proves."""
    return Finding(invariant=invariant, what=what, event=deed.id, at=deed.at)
