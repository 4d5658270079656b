"""What steers a service in simulated time: the unchanged law, or a rival; and the pushes that carry it to the pods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from meltguard.core.decide import decide
from meltguard.core.decision import Decision
from meltguard.core.grant import Grant
from meltguard.core.granting import Stamp, grant_for
from meltguard.core.load import PodLoad
from meltguard.core.memory import Memory
from meltguard.core.policy import Policy
from meltguard.core.pushing import InForce, Rates, Silent, content, finish_push, plan_push, steadied
from meltguard.core.seen import Snapshot
from meltguard.core.units import Epoch, Instant, PodUid, Revision

Steering = Callable[[Snapshot, Instant], Decision]
"""One pass: what is seen becomes limits. It may remember; a new one knows nothing."""

SteeringMaker = Callable[[Memory], Steering]
"""Makes a steering that begins with this memory; rivals keep none and start anew."""


class Law:
    """`decide()`, pass after pass, as the controller runs it."""

    def __init__(self, policy: Policy, memory: Memory) -> None:
        self._policy, self.memory = policy, memory

    def __call__(self, seen: Snapshot, now: Instant) -> Decision:
        """One pass."""
        decision = decide(self._policy, self.memory, seen, now)
        self.memory = decision.memory
        return decision


@dataclass(slots=True)
class Pusher:
    """One operator's pushes: as the controller's enforcer plans them, over pods that answer at once."""

    policy: Policy
    epoch: Epoch
    force: InForce = field(default_factory=InForce)
    _sent: dict[PodUid, tuple[tuple[object, ...], Rates]] = field(default_factory=dict)
    _revision: int = 0

    def due(self, decision: Decision, pods: Sequence[PodUid], loads: Sequence[PodLoad]) -> list[tuple[PodUid, Grant]]:
        """The grants to hand out, in their order: decreases first."""
        for gone in self._sent.keys() - set(pods):
            del self._sent[gone]
        totals = steadied(self.force.totals, decision)
        plan = plan_push(totals, pods, loads, self.force, Silent())
        grants = self._changed(decision, pods, plan.decrease)
        if plan.increases:
            grants += self._changed(decision, pods, finish_push(plan, self._held()))
        self.force = InForce(totals=totals, held=self._held())
        return grants

    def _changed(
        self, decision: Decision, pods: Sequence[PodUid], rates: Mapping[PodUid, Rates]
    ) -> list[tuple[PodUid, Grant]]:
        stamp = Stamp(epoch=self.epoch, revision=Revision(self._revision + 1), at=decision.at)
        grants: list[tuple[PodUid, Grant]] = []
        for pod, pod_rates in rates.items():
            grant = grant_for(self.policy, decision, (pod, len(pods)), pod_rates, stamp)
            what = (content(grant), pod_rates)
            if self._sent.get(pod) != what:
                self._sent[pod] = what
                grants.append((pod, grant))
        self._revision += bool(grants)
        return grants

    def _held(self) -> dict[PodUid, Rates]:
        return {pod: rates for pod, (_, rates) in self._sent.items()}
