"""A small world of one node and its pods, driven by the moves alone."""

from dataclasses import dataclass, field, replace
from typing import Any

from meltguard.core.fleet import Budget, Claim, Drain, Guards, MoveStep, NodeView, PodView
from meltguard.core.move_actions import Enter, Evict, Intent, MoveAction, Notify, Release, Scene, Wait, Wanted, Withdraw
from meltguard.core.moves import new_claim, next_action
from meltguard.core.policy import Eviction, OnDeadline
from meltguard.core.service import Selector
from meltguard.core.units import GpuHours, Instant, PodUid, Seconds
from support.core_values import a_node, a_pod, a_pool

OUT = Intent(wanted=Wanted.OUT, why="")
START = Instant(100_000.0)
NOTICE, DEADLINE = Seconds(20.0), Seconds(120.0)
EVICTION = Eviction(
    notice=NOTICE,
    minimum_runtime=Seconds(0.0),
    deadline=DEADLINE,
    on_deadline=OnDeadline.GIVE_UP,
    loses_local_data=False,
    fails_jobs=False,
)


@dataclass
class World:
    """One node under a claim. `step()` takes what the moves ask for and lets a second pass."""

    eviction: Eviction = EVICTION
    pods: list[PodView] = field(default_factory=lambda: [a_pod(), a_pod("job-2", grace=Seconds(5.0))])
    budgets: tuple[Budget, ...] = ()
    ready: bool = True
    now: Instant = START
    stubborn: bool = False  # pods never end, whatever their grace
    changes: dict[str, Any] = field(default_factory=dict)  # of the node, by others
    claim: Claim | None = None
    cordoned: bool = False
    evicted: dict[str, Instant] = field(default_factory=dict)
    told: dict[str, Instant] = field(default_factory=dict)
    untold: list[str] = field(default_factory=list)
    steps: list[MoveStep] = field(default_factory=list)
    why: str = ""
    arrivals: int = 0  # pods that landed late
    saved: set[str] = field(default_factory=set)  # pods that said so

    def __post_init__(self) -> None:
        drain = Drain(
            eviction=self.eviction,
            deadline=Instant(START + self.eviction.deadline),
            work_lost=GpuHours(3.0),
            victims=("research/train",),
        )
        pools = (a_pool(), a_pool("inference"))
        at = (START, Instant(START + 86_400.0))
        self.claim = new_claim(self.node(), ("serving/image-gen", "policy-uid"), pools, at, drain)
        self.steps.append(MoveStep.CLAIMED)

    def node(self) -> NodeView:
        """The node as it is read now."""
        fields: dict[str, Any] = {"unschedulable": self.cordoned, "ready": self.ready, **self.changes}
        return replace(a_node(pods=tuple(self.pods)), claim=self.claim, **fields)

    def step(self, intent: Intent = OUT) -> MoveAction | None:
        """Do what the moves ask for; what that was. A second passes."""
        if self.claim is None:
            return None
        scene = Scene(now=self.now, guards=Guards(budgets=self.budgets))
        action = next_action(self.node(), self.claim, intent, scene)
        self._take(action)
        self.now = Instant(self.now + 1.0)
        self._let_end()
        return action

    def run(self, until: MoveStep | None, within: int = 400) -> None:
        """Step until the claim is at a step; None is home."""
        for _ in range(within):
            if (self.claim.step if self.claim else None) is until:
                return
            self.step()
        raise AssertionError(f"not at {until} after {within} s: {self.steps}, {self.why}")

    def _take(self, action: MoveAction) -> None:
        match action:
            case Enter(claim=claim):
                self.claim, self.why = claim, claim.why
                self.cordoned = claim.step not in {MoveStep.CLAIMED, MoveStep.LENT, MoveStep.HOME}
                self.steps.append(claim.step)
            case Release():
                self.claim = None
            case Notify(pods=pods):
                self._tell(action, {pod.uid for pod in pods})
            case Withdraw(pods=pods):
                names = {pod.uid for pod in pods}
                self.untold += [pod.name for pod in pods]
                self.pods = [replace(pod, notice="") if pod.uid in names else pod for pod in self.pods]
            case Evict(pods=pods):
                for pod in pods:
                    self._evict(pod)
            case Wait(why=why):
                self.why = why

    def _tell(self, notice: Notify, uids: set[PodUid]) -> None:
        words: dict[str, Any] = {
            "notice": notice.move_id,
            "asked_at": notice.asked_at,
            "evict_after": notice.evict_after,
        }
        self.pods = [replace(pod, **words) if pod.uid in uids else pod for pod in self.pods]
        self.told.update({pod.name: self.now for pod in notice.pods})

    def _evict(self, pod: PodView) -> None:
        budget = next((one for one in self.budgets if one.selector and one.selector.matches(pod.labels)), None)
        if budget is not None and budget.allowed <= 0:
            return  # the API server answers 429
        if budget is not None:
            self.budgets = tuple(
                replace(one, allowed=one.allowed - 1) if one is budget else one for one in self.budgets
            )
        assert pod.name not in self.evicted, "evicted twice"
        self.evicted[pod.name] = self.now
        self.pods = [replace(one, terminating=True) if one.uid == pod.uid else one for one in self.pods]

    def _let_end(self) -> None:
        ended = {name for name, at in self.evicted.items() if not self.stubborn and self.now - at >= 3.0}
        self.pods = [pod for pod in self.pods if pod.name not in ended]


def a_budget(allowed: int, never: str = "") -> Budget:
    """A disruption budget over every pod of the lender."""
    everything = Selector(labels={}, requirements=())
    return Budget(namespace="research", name="train", uid="b-1", selector=everything, allowed=allowed, never=never)
