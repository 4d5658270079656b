"""The cluster as last read: nodes, the pods on them, and the claims that nodes carry."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Final

from meltguard.core.once import once
from meltguard.core.policy import Eviction, Taint
from meltguard.core.service import Selector
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Gpus, Instant, NodeName, PodUid, PoolName, Seconds

MANAGED_LABEL = "meltguard.io/managed"
"""Set to "true" by the platform team on the nodes that may be moved; our identity may not set it."""

OPT_OUT_ANNOTATION = "meltguard.io/do-not-lend"
"""On a node: "true" keeps it home."""

CLAIM_ANNOTATION = "meltguard.io/loan"
EPOCH_ANNOTATION = "meltguard.io/epoch"

LEAVING_ANNOTATION = "meltguard.io/leaving"
"""On a bought node: the order that it came by. Its provider may remove it; nobody needs it any more."""

NOTICE_ANNOTATION = "meltguard.io/notice"
"""On a pod: the id of the move that will evict it. Only pods that bear our notice are evicted on the way out."""

ASKED_AT_ANNOTATION = "meltguard.io/checkpoint-asked-at"
EVICT_AFTER_ANNOTATION = "meltguard.io/evict-after"
"""On a pod, RFC 3339: when it was asked to save its work, and when it is evicted at the earliest without an answer."""

SAVED_AT_ANNOTATION = "meltguard.io/checkpoint-saved-at"
"""On a pod, RFC 3339, written by the workload: when it last saved its work. Later than the asking, it is the answer."""

KEEP_ANNOTATION = "meltguard.io/do-not-evict"
"""On a pod: "true" keeps it, and so its node, at home."""


class MoveStep(StrEnum):
    """How far a node's move has come. Each is entered by one write to the node."""

    CLAIMED = "Claimed"  # the intent is written, nothing else
    CORDONED = "Cordoned"  # no new pod may come
    NOTIFIED = "Notified"  # its pods are told, and may save their work
    DRAINING = "Draining"  # its pods are evicted, each after its notice or its answer
    RELABELLED = "Relabelled"  # labels and taints are the borrower's; still cordoned
    LENT = "Lent"  # schedulable for the borrower
    RECALLED = "Recalled"  # cordoned again; its pods are leaving
    RESTORED = "Restored"  # labels and taints are as found; still cordoned
    HOME = "Home"  # uncordoned, if the move cordoned it; the claim comes off next


EMPTYING = frozenset({MoveStep.CLAIMED, MoveStep.CORDONED, MoveStep.NOTIFIED, MoveStep.DRAINING})
HOMEWARD = frozenset({MoveStep.RECALLED, MoveStep.RESTORED, MoveStep.HOME})
"""A node at one of these steps gets home, whatever is wanted of it now."""

LEAVE_TIME: Final = Seconds(20.0)
"""Who has not begun to leave a recalled node by then is evicted: its Deployment removed other pods, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What the node looked like before its claim, for an exact way back."""

    labels: Mapping[str, str | None]  # only the keys that the move touches; None: it was absent
    taints: tuple[Taint, ...]  # all, in order
    unschedulable: bool
    annotations: Mapping[str, str | None]  # other node owners' marks that the claim changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the move makes of the node, fixed when it is claimed: a pool edited meanwhile changes no open move."""

    labels: Mapping[str, str | None]  # the keys of both pools, as the borrower has them; None: removed
    taints_off: tuple[Taint, ...]  # the home pool's
    taints_on: tuple[Taint, ...]  # the borrower's


MOST_TOLD = 5
"""Works that are named one by one where a loan says what it stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How running work leaves, fixed when the node is claimed: a pool edited meanwhile changes no open move."""

    eviction: Eviction
    deadline: Instant  # the node must be empty by then
    work_lost: GpuHours  # expected at the claim
    victims: tuple[str, ...]  # the work that is broken off, as harm.work_name calls it
    began: Instant | None = None  # when the first pod was to be evicted; None: nobody was
    stopped: tuple[Stopped, ...] = ()  # of the victims, the MOST_TOLD that lose most


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One loan, as written on its node: enough to bring the node home after losing everything else."""

    move_id: str
    policy: str  # namespace/name
    policy_uid: str
    home: PoolName
    to: PoolName
    step: MoveStep
    since: Instant  # when it was claimed
    step_deadline: Instant
    due: Instant  # the promised return: since + maxLoanDuration
    prior: Prior
    change: Change
    drain: Drain | None = None  # None: its pool lends idle nodes only
    lent_at: Instant | None = None  # when it opened for the borrower
    cause: str = ""  # why it was borrowed
    why: str = ""  # why it was recalled; empty until then

    @property
    def told_why(self) -> str:
        """Why it goes home; until then, why it was borrowed."""
        return self.why or self.cause

    @property
    def stopped(self) -> tuple[Stopped, ...]:
        """Whose work it has broken off."""
        return self.drain.stopped if self.drain is not None and self.drain.began is not None else ()

    @property
    def empties(self) -> bool:
        """Whether running work is leaving the node for it, or is going to."""
        return self.drain is not None and bool(self.drain.victims) and self.step in EMPTYING


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """The few facts of a pod that decisions need."""

    namespace: str
    name: str
    uid: PodUid
    node: NodeName
    labels: Mapping[str, str]
    ip: str
    running: bool  # phase Running
    ready: bool
    finished: bool  # phase Succeeded or Failed
    terminating: bool
    gpus: Gpus
    owner_kind: str  # "" where nothing owns it
    owner_name: str
    owner_uid: str
    gang: str  # Kind/namespace/name of the work that stands or falls together; "" for a pod that stands alone
    mirror: bool  # a static pod's shadow: only the kubelet can end it
    resource_version: str
    grace: Seconds
    priority: int
    started_at: Instant | None  # None: not yet
    keep: str  # why its owner asks to leave it alone; "" where nobody asks
    keep_for: Seconds | None  # the asking holds for so long after its start; None: for ever
    local_data: bool  # it would lose data that lies on the node's disk
    node_selector: Mapping[str, str]
    notice: str  # the move that told it to leave; "" where none did
    asked_at: Instant | None  # to save its work
    evict_after: Instant | None
    saved_at: Instant | None  # when the workload last saved its work, as it says
    stuck_since: Instant | None = None  # the scheduler found no node for it; None: it has one, or gets one
    gpu_kinds: frozenset[str] = frozenset()  # resources, such as nvidia.com/gpu

    @property
    def stays(self) -> bool:
        """Pods that a move leaves alone: DaemonSet pods, static pods, finished pods."""
        return self.mirror or self.finished or self.owner_kind == "DaemonSet"


DRIVER_UPGRADE_LABEL = "nvidia.com/gpu-driver-upgrade-state"
DRIVER_UPGRADE_OVER = frozenset({"", "upgrade-done"})
TAKEN_AWAY_BY = {
    "karpenter.sh/disrupted": "Karpenter",
    "karpenter.sh/disruption": "Karpenter",  # before its version 1
    "ToBeDeletedByClusterAutoscaler": "the Cluster Autoscaler",
}
"""Taints by which other owners say that a node goes. A mere candidate of theirs may be lent: our marks keep it."""


@dataclass(frozen=True, kw_only=True)  # no slots: what is asked again and again is kept in the instance
class NodeView:
    """The few facts of a node that decisions need, with the pods bound to it."""

    name: NodeName
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    taints: tuple[Taint, ...]
    unschedulable: bool
    ready: bool
    gpus: Gpus  # allocatable
    claim: Claim | None
    claim_problem: str  # an annotation that is no claim of ours: hands off; "" where all is well
    pods: tuple[PodView, ...]
    created: Instant = Instant(0.0)
    deleting: bool = False  # someone deleted it, and a finalizer holds it
    by_kind: Mapping[str, Gpus] = field(default_factory=dict)  # `gpus` by resource, such as nvidia.com/gpu
    sick: str = ""  # what ails a GPU of it, by a metric: it may be wrong, so nothing is moved for it

    @once
    def gpu_kinds(self) -> frozenset[str]:
        """The resources that `gpus` counts."""
        return frozenset(self.by_kind)

    def gpus_for(self, asked: frozenset[str]) -> Gpus:
        """What pods that ask for these resources can be given; what nobody knows to be asked for counts whole."""
        if not asked or not self.by_kind:
            return self.gpus
        return Gpus(sum(count for kind, count in self.by_kind.items() if kind in asked))

    def pods_for(self, asked: frozenset[str], each: Gpus) -> int:
        """How many pods of `each` GPUs fit: all of a pod's are of one resource."""
        if not asked or not self.by_kind:
            return self.gpus // each
        return sum(count // each for kind, count in self.by_kind.items() if kind in asked)

    @property
    def managed(self) -> bool:
        """Whether the platform team lets us touch it."""
        return self.labels.get(MANAGED_LABEL) == "true"

    @property
    def driver_upgrade(self) -> str:
        """The state of a driver upgrade under way; "" while there is none."""
        state = self.labels.get(DRIVER_UPGRADE_LABEL, "")
        return "" if state in DRIVER_UPGRADE_OVER else state

    @property
    def goes(self) -> str:
        """Who takes the node away, as the end of a sentence that begins with it; "" while nobody does."""
        if self.deleting:
            return "is being deleted"
        taken = (taint.key for taint in self.taints if taint.key in TAKEN_AWAY_BY)
        return next((f"is being taken away by {TAKEN_AWAY_BY[key]} (taint {key})" for key in taken), "")

    @once
    def movable_pods(self) -> tuple[PodView, ...]:
        """Pods that must have left before the node changes hands. Terminating ones count."""
        return tuple(pod for pod in self.pods if not pod.stays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A PodDisruptionBudget."""

    namespace: str
    name: str
    uid: str
    selector: Selector | None  # None: it means no pod
    allowed: int  # evictions that it allows now
    never: str  # why it can never allow one, with what to do; "" where it may


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an eviction may cost a Job."""

    namespace: str
    name: str
    uid: str
    failures_left: int  # pods that may still fail before the Job fails as a whole
    forgives_disruption: bool  # its podFailurePolicy ignores evictions: they cost none of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What stands between running pods and an eviction."""

    budgets: tuple[Budget, ...] = ()
    jobs: tuple[Job, ...] = ()
    pledged: tuple[PodView, ...] = ()  # pods on other nodes that open moves will evict: budgets must bear them too


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """All nodes and pods at one moment, and what guards them."""

    nodes: tuple[NodeView, ...]
    pending: tuple[PodView, ...]  # bound to no node yet
    spaces: Mapping[str, Sequence[PodView]]  # the same pods by namespace; see `by_namespace`
    age: Seconds  # since the watch last proved itself alive
    guards: Guards = field(default_factory=Guards)

    def pods_of(self, namespace: str, selector: Selector) -> tuple[PodView, ...]:
        """Unfinished pods of a namespace that the selector means, on any node or none."""
        return tuple(pod for pod in self.spaces.get(namespace, ()) if not pod.finished and selector.matches(pod.labels))


def by_namespace(nodes: Iterable[NodeView], pending: Iterable[PodView]) -> Mapping[str, Sequence[PodView]]:
    """All pods, those on nodes first."""
    spaces: defaultdict[str, list[PodView]] = defaultdict(list)
    for pod in chain(chain.from_iterable(node.pods for node in nodes), pending):
        spaces[pod.namespace].append(pod)
    return spaces
