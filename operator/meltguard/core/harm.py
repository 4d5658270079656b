"""What evictions would cost: GPU-hours of work since the last checkpoint, gangs whole."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meltguard.core.fleet import Guards, Job, NodeView, PodView
from meltguard.core.once import once
from meltguard.core.preflight import would_fail
from meltguard.core.units import GpuHours, Instant, NodeName, Seconds

MOST_WORK: Final = Seconds(86_400.0)
"""A pod loses at most this much time since its last checkpoint. Without a cap, silence would be the best protection:
work that says what it saved would always be taken before work that never says anything."""

HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is broken off as one: a gang wherever its pods run, or a pod that stands alone."""

    name: str  # the gang's, or `Pod namespace/name`
    pods: tuple[PodView, ...]  # that are not ending, by node and name
    priority: int  # the highest of its pods
    broken: bool  # an open move will evict one of its pods: it stops in any case
    saved: Instant | None  # the last checkpoint that any of its pods tells of: in a gang, one speaks for all
    unsaved: GpuHours  # that breaking it off costs, if it starts again from that checkpoint
    whole: GpuHours  # that it costs if nothing starts it again


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What breaking off one work costs."""

    work: Work
    hours: GpuHours
    fails: bool  # a Job of it fails as a whole: whatever it saved, nothing starts it again


@dataclass(frozen=True, kw_only=True)  # no slots: what is weighed is kept in the instance
class Stakes:
    """All work that runs, and what guards it. It is weighed when first asked for: idle nodes break nothing off."""

    nodes: Sequence[NodeView]  # all that may bear a gang's pods, not the lender's alone
    guards: Guards
    now: Instant

    @once
    def works(self) -> Mapping[str, Work]:
        """By name."""
        members: dict[str, list[PodView]] = defaultdict(list)
        for pod in leaving(self.nodes):
            members[work_name(pod)].append(pod)
        broken = {**_broken(self.nodes), **dict.fromkeys((work_name(pod) for pod in self.guards.pledged), self.now)}
        return {name: _weighed(name, pods, broken.get(name), self.now) for name, pods in members.items()}

    @once
    def jobs(self) -> Mapping[str, Job]:
        """By uid."""
        return {job.uid: job for job in self.guards.jobs}


def work_name(pod: PodView) -> str:
    """How the work that a pod belongs to is called everywhere."""
    return pod.gang or f"Pod {pod.namespace}/{pod.name}"


def leaving(nodes: Iterable[NodeView]) -> tuple[PodView, ...]:
    """The pods that would have to be evicted; those that are terminating go by themselves."""
    return tuple(pod for node in nodes for pod in node.movable_pods if not pod.terminating)


def survey(nodes: Sequence[NodeView], guards: Guards, now: Instant) -> Stakes:
    """Everything that runs. `nodes` are all that may bear a gang's pods, not the lender's alone."""
    return Stakes(nodes=nodes, guards=guards, now=now)


def losses(stakes: Stakes, nodes: Sequence[NodeView]) -> tuple[Loss, ...]:
    """What emptying all these nodes breaks off, each work once."""
    pods = leaving(nodes)
    failing = _failing(stakes, pods)
    return tuple(_loss(stakes.works[name], failing) for name in dict.fromkeys(work_name(pod) for pod in pods))


def lost_hours(stakes: Stakes, nodes: Sequence[NodeView]) -> GpuHours:
    """The sum of `losses`."""
    return GpuHours(math.fsum(loss.hours for loss in losses(stakes, nodes)))


def elsewhere(work: Work, taken: Iterable[NodeName]) -> tuple[str, ...]:
    """Its pods that stop though their nodes are not taken, in words."""
    gone = frozenset(taken)
    return tuple(f"{pod.namespace}/{pod.name} on {pod.node}" for pod in work.pods if pod.node not in gone)


def _broken(nodes: Sequence[NodeView]) -> Mapping[str, Instant]:
    """When moves broke work off: what was lost then is not lost again."""
    at: dict[str, Instant] = {}
    for node in nodes:
        drain = node.claim.drain if node.claim else None
        if drain is not None and drain.began is not None:
            at.update({victim: max(drain.began, at.get(victim, drain.began)) for victim in drain.victims})
    return at


def _weighed(name: str, pods: Sequence[PodView], broken: Instant | None, now: Instant) -> Work:
    saved = max((pod.saved_at for pod in pods if pod.saved_at is not None), default=None)
    marks = [mark for mark in (saved, broken) if mark is not None]
    return Work(
        name=name,
        pods=tuple(sorted(pods, key=lambda pod: (pod.node, pod.namespace, pod.name))),
        priority=max(pod.priority for pod in pods),
        broken=broken == now,
        saved=saved,
        unsaved=_hours((pod, min(MOST_WORK, _ran(pod, marks, now))) for pod in pods),
        whole=_hours((pod, _ran(pod, (), now)) for pod in pods),
    )


def _ran(pod: PodView, marks: Sequence[Instant], now: Instant) -> Seconds:
    """Since the pod started, or since the latest of these moments in its life."""
    return Seconds(0.0 if pod.started_at is None else max(0.0, now - max((pod.started_at, *marks))))


def _hours(spans: Iterable[tuple[PodView, float]]) -> GpuHours:
    return GpuHours(math.fsum(pod.gpus * span for pod, span in spans) / HOUR)  # the same in any order


def _failing(stakes: Stakes, pods: Sequence[PodView]) -> frozenset[str]:
    """The work of Jobs that these evictions end; a Job that open moves end already cannot end once more."""
    before = Counter(pod.owner_uid for pod in stakes.guards.pledged)
    added = Counter(pod.owner_uid for pod in pods if pod.owner_uid in stakes.jobs)
    ended = {
        uid
        for uid, count in added.items()
        if would_fail(stakes.jobs[uid], before[uid] + count) and not would_fail(stakes.jobs[uid], before[uid])
    }
    return frozenset(work_name(pod) for pod in pods if pod.owner_uid in ended)


def _loss(work: Work, failing: frozenset[str]) -> Loss:
    fails = work.name in failing
    return Loss(work=work, hours=work.whole if fails else work.unsaved, fails=fails)
