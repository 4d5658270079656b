"""How running work leaves: a small world of one node and its pods, driven by the moves alone, under all that happens."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltguard.core.fleet import (
    DRIVER_UPGRADE_LABEL,
    OPT_OUT_ANNOTATION,
    Budget,
    Claim,
    Drain,
    Guards,
    MoveStep,
    NodeView,
    PodView,
)
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
    changes: dict[str, object] = field(default_factory=dict)  # of the node, by others
    claim: Claim | None = None
    cordoned: bool = False
    evicted: dict[str, Instant] = field(default_factory=dict)
    told: dict[str, Instant] = field(default_factory=dict)
    untold: list[str] = field(default_factory=list)
    steps: list[MoveStep] = field(default_factory=list)
    why: str = ""

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
        fields = {"unschedulable": self.cordoned, "ready": self.ready, **self.changes}
        return replace(a_node(pods=tuple(self.pods)), claim=self.claim, **fields)  # type: ignore[arg-type]

    def step(self, intent: Intent = OUT) -> MoveAction | None:
        if self.claim is None:
            return None
        scene = Scene(now=self.now, guards=Guards(budgets=self.budgets))
        action = next_action(self.node(), self.claim, intent, scene)
        self._take(action)
        self.now = Instant(self.now + 1.0)
        self._let_end()
        return action

    def run(self, until: MoveStep | None, within: int = 400) -> None:
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
        words = {"notice": notice.move_id, "asked_at": notice.asked_at, "evict_after": notice.evict_after}
        self.pods = [replace(pod, **words) if pod.uid in uids else pod for pod in self.pods]  # type: ignore[arg-type]
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


def test_a_busy_node_is_emptied_in_order() -> None:
    world = World()
    world.run(MoveStep.LENT)
    assert world.steps == [
        MoveStep.CLAIMED,
        MoveStep.CORDONED,
        MoveStep.NOTIFIED,
        MoveStep.DRAINING,
        MoveStep.RELABELLED,
        MoveStep.LENT,
    ]
    assert all(world.evicted[name] - world.told[name] >= NOTICE for name in ("job-1", "job-2"))
    assert world.claim is not None
    assert world.claim.lent_at is not None
    assert world.claim.drain is not None
    assert world.claim.drain.began is not None
    assert world.now - START <= NOTICE + 3.0 + 10.0  # notice, the time the pods take, and ten seconds


def test_whoever_says_that_the_work_is_saved_goes_at_once() -> None:
    world = World(pods=[a_pod()])
    world.run(MoveStep.NOTIFIED)
    world.step()
    world.pods = [replace(pod, saved_at=Instant(world.now)) for pod in world.pods]
    world.run(MoveStep.LENT)
    assert world.evicted["job-1"] - world.told["job-1"] < NOTICE


def test_an_old_mark_is_no_answer() -> None:
    world = World(pods=[a_pod(saved_at=Instant(START - 5.0))])
    world.run(MoveStep.LENT)
    assert world.evicted["job-1"] - world.told["job-1"] >= NOTICE


def test_an_idle_node_is_not_told_anything() -> None:
    world = World(pods=[])
    world.run(MoveStep.LENT)
    assert MoveStep.NOTIFIED not in world.steps
    assert not world.told


ALL = Selector(labels={}, requirements=())


def a_budget(allowed: int, never: str = "") -> Budget:
    return Budget(namespace="research", name="train", uid="b-1", selector=ALL, allowed=allowed, never=never)


def test_nobody_is_told_where_not_all_can_go() -> None:
    world = World(budgets=(a_budget(1),))
    world.run(None)
    assert not world.told
    assert not world.evicted
    assert MoveStep.HOME in world.steps


def test_a_budget_that_closes_in_the_middle_ends_the_drain_at_its_deadline() -> None:
    world = World(budgets=(a_budget(2),))
    world.run(MoveStep.DRAINING)
    world.budgets = (a_budget(0),)
    world.run(None)
    assert not world.evicted
    assert world.untold == ["job-1", "job-2"]
    assert world.now - START <= DEADLINE + 10.0
    assert "not empty by its deadline" in world.why


def test_skip_notice_asks_late_comers_at_the_deadline() -> None:
    world = World(
        eviction=replace(EVICTION, on_deadline=OnDeadline.SKIP_NOTICE), pods=[a_pod()], budgets=(a_budget(1),)
    )
    world.run(MoveStep.DRAINING)
    world.budgets = (a_budget(0),)
    while world.now < START + DEADLINE:
        world.step()
    world.pods.append(a_pod("late", uid=PodUid("late"), notice=""))
    world.budgets = (a_budget(2),)
    world.run(MoveStep.LENT)
    assert world.evicted["late"] - world.told["late"] < NOTICE


def test_a_pod_that_never_ends_is_never_relabelled_over() -> None:
    world = World(stubborn=True, eviction=replace(EVICTION, on_deadline=OnDeadline.SKIP_NOTICE))
    world.run(None)
    assert MoveStep.RELABELLED not in world.steps


@pytest.mark.parametrize("step", [MoveStep.NOTIFIED, MoveStep.DRAINING])
def test_an_owner_may_object_until_the_last_moment(step: MoveStep) -> None:
    world = World(budgets=(a_budget(0),)) if step is MoveStep.DRAINING else World()
    world.budgets = (a_budget(2),)
    world.run(MoveStep.NOTIFIED)
    world.step()
    if step is MoveStep.DRAINING:
        world.budgets = (a_budget(0),)
        world.run(MoveStep.DRAINING)
    world.pods[0] = replace(world.pods[0], keep="bears meltguard.io/do-not-evict")
    world.run(None)
    assert not world.evicted
    assert "do-not-evict" in world.why


INTERRUPTIONS = {
    "someone uncordons": {"unschedulable": False},
    "the driver is upgraded": {"labels": {**a_node().labels, DRIVER_UPGRADE_LABEL: "drain-required"}},
    "the node is opted out": {"annotations": {OPT_OUT_ANNOTATION: "true"}},
}


@pytest.mark.parametrize("changes", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
@pytest.mark.parametrize("step", [MoveStep.CORDONED, MoveStep.NOTIFIED, MoveStep.DRAINING])
def test_an_interruption_sends_it_home(step: MoveStep, changes: dict[str, object]) -> None:
    world = World()
    world.run(step)
    world.changes = changes
    world.step()
    world.step()
    assert world.claim is None or world.claim.step is MoveStep.HOME
    assert all(pod.notice == "" for pod in world.pods if not pod.terminating)


def test_a_node_that_is_not_ready_is_not_drained_and_waits_no_longer_than_its_deadline() -> None:
    world = World()
    world.run(MoveStep.NOTIFIED)
    world.ready = False
    world.run(None)
    assert not world.evicted


def test_a_bind_that_lands_late_is_told_and_evicted_before_the_node_opens() -> None:
    world = World(pods=[])
    world.run(MoveStep.RELABELLED)
    world.pods = [a_pod("stray")]
    world.run(MoveStep.LENT)
    assert world.evicted["stray"] - world.told["stray"] >= NOTICE


def test_a_move_undone_after_its_relabelling_asks_nobody_to_leave() -> None:
    world = World(pods=[])
    world.run(MoveStep.RELABELLED)
    world.pods = [a_pod("stray", keep="is needed")]
    for _ in range(300):
        world.step()
    assert world.claim is None
    assert not world.evicted
    assert MoveStep.RESTORED in world.steps


EVENTS = st.sampled_from(
    ["nothing", "crash", "late pod", "budget shuts", "budget opens", "not ready", "ready", "saved"]
)


@settings(max_examples=300)
@given(events=st.lists(EVENTS, max_size=60), skip=st.booleans(), stubborn=st.booleans())
def test_whatever_happens_every_drain_ends_and_nobody_goes_untold(
    events: list[str],
    skip: bool,
    stubborn: bool,  # noqa: FBT001 - Hypothesis hands them in
) -> None:
    mode = OnDeadline.SKIP_NOTICE if skip else OnDeadline.GIVE_UP
    world = World(eviction=replace(EVICTION, on_deadline=mode), stubborn=stubborn, budgets=(a_budget(9),))
    for number, event in enumerate(events):
        if event == "late pod" and len(world.pods) < 5:
            world.pods.append(a_pod(f"late-{number}", uid=PodUid(f"late-{number}")))
        elif event.startswith("budget"):
            world.budgets = (a_budget(0 if event.endswith("shuts") else 9),)
        elif event.endswith("ready"):
            world.ready = event == "ready"
        elif event == "saved":
            world.pods = [replace(pod, saved_at=world.now) for pod in world.pods]
        world.step()
    world.ready = True
    for _ in range(int(DEADLINE) + 200):
        world.step()
    ended = world.claim is None or world.claim.step is MoveStep.LENT
    assert ended, (world.steps, world.why)
    for name, at in world.evicted.items():
        assert name in world.told
        saved = next((pod.saved_at for pod in world.pods if pod.name == name), None)
        late = skip and at > START + DEADLINE
        assert at - world.told[name] >= NOTICE - 1 or late or saved is not None or "saved" in events
    if MoveStep.RELABELLED in world.steps and MoveStep.LENT in world.steps:
        assert not [pod for pod in world.pods if not pod.stays] or "late pod" in events
