"""Brings nodes home without the operator: for people with the break-glass role, and before an uninstall."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from meltguard.adapters.agent_push import AgentPush
from meltguard.adapters.fleet_shape import read_node
from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind
from meltguard.adapters.kubernetes_errors import Missing
from meltguard.adapters.kubernetes_fleet import NODES, PODS, KubernetesFleet
from meltguard.adapters.kubernetes_lease import LeaseName
from meltguard.adapters.kubernetes_list import read_all
from meltguard.adapters.kubernetes_moves import KubernetesMoves
from meltguard.adapters.kubernetes_objects import KubernetesObjects
from meltguard.adapters.kubernetes_rollouts import KubernetesRollouts
from meltguard.adapters.lease_shape import LeaseRecord, Term
from meltguard.adapters.pod_shape import read_pod
from meltguard.api.signed import SigningKey
from meltguard.api.to_core import PolicyObject, PoolObject, read_policy, read_pool
from meltguard.clock import SystemClock
from meltguard.controller.leavers import WITHDRAWN
from meltguard.controller.resources import FINALIZER, POLICIES, POOLS
from meltguard.controller.workloads import workload_ref
from meltguard.core.fleet import EPOCH_ANNOTATION, MoveStep, NodeView
from meltguard.core.granting import Stamp, released
from meltguard.core.move_actions import Enter, Evict, Intent, Notify, Release, Scene, Wait, Wanted, Withdraw
from meltguard.core.moves import next_action
from meltguard.core.rollout import letting_go
from meltguard.core.units import Epoch, Instant, NodeName, Revision, Seconds
from meltguard.errors import Conflict, InvalidInput, Unavailable
from meltguard.ports import Target

log = logging.getLogger(__name__)

OURSELVES = "meltguard-return"
HELD_FOR = Seconds(120.0)
"""No operator takes the Lease for this long after we are done: time enough for helm to delete it."""

LOOK_AGAIN = Seconds(1.0)
STAYS_OFF = Seconds(12.0)
"""A holder notices within its 10 s deadline that the Lease is another's."""

WHY = Intent(wanted=Wanted.HOME, why="someone brought it home with `meltguard return`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """The Lease, taken from whoever held it: from now on the operator's writes are fenced off."""

    lease: LeaseName
    holder: str
    epoch: Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """One run of `meltguard return`."""

    api: KubernetesApi
    clock: SystemClock
    lease: LeaseName
    limit: Seconds  # how long nodes may take
    say: Callable[[str], None]

    async def bring_home(self, only: Sequence[NodeName]) -> tuple[NodeName, ...]:
        """Take over, bring claimed nodes home (`only` these, or all), and say which did not get there in time."""
        nodes = (await read_all(self.api, NODES, read_node)).items
        takeover = await self._take_over(nodes)
        self.say(f"the Lease is ours, epoch {takeover.epoch}; the operator writes nothing any more")
        if not only:
            await self._restore_replicas()
        ends = self.clock.elapsed() + self.limit
        left = await self._pass(takeover, only)
        while left and self.clock.elapsed() < ends:
            await asyncio.sleep(LOOK_AGAIN)
            left = await self._pass(takeover, only)
        return left

    async def hand_back(self) -> None:
        """Let the operator in again at once: only some nodes were meant, and it is to go on with the others."""
        body = await self.api.get(self.lease.path)
        record = LeaseRecord.read(body) if body else None
        if record is None or record.holder != OURSELVES:
            return
        now = self.clock.now()
        free = Term(holder="", epoch=record.epoch, duration=Seconds(1.0), acquired=now)
        await self.api.put(self.lease.path, record.written(free, now))
        self.say("the Lease is free; the operator goes on")

    async def release_services(self, key: SigningKey | None) -> None:
        """Tell every agent that its policy is gone, and take our finalizer off policies and pools.

        The operator's Kopf goes on until it learns that the Lease is lost and puts the finalizer back meanwhile: it is
        off for good once it has stayed off for longer than a lost Lease can go unnoticed.
        """
        if key is not None:
            for found, _ in await self._policies():
                await self._release_agents(found, key)
        await self._resume_rollouts()
        await self._tell_of_bought()
        began = quiet_since = self.clock.elapsed()
        while self.clock.elapsed() - quiet_since < STAYS_OFF and self.clock.elapsed() - began < self.limit:
            if await self._drop_finalizers():
                quiet_since = self.clock.elapsed()
            await asyncio.sleep(LOOK_AGAIN)

    async def _tell_of_bought(self) -> None:
        for body in (await read_all(self.api, POOLS, _decoded)).items:
            try:
                told = stays_bought(read_pool(body))
            except InvalidInput as exc:
                told = f"a pool could not be read, so what was bought for it is not known: {exc}"
            if told:
                self.say(told)

    async def _drop_finalizers(self) -> bool:
        """Whether any was there."""
        paths = [(_policy_path(found), body) for found, body in await self._policies()]
        paths += [
            (f"{POOLS}/{raw['metadata']['name']}", raw) for raw in (await read_all(self.api, POOLS, _decoded)).items
        ]
        dropped = [await self._drop_finalizer(path, body) for path, body in paths]
        return any(dropped)

    async def _take_over(self, nodes: Sequence[NodeView]) -> Takeover:
        marks = [int(mark) for node in nodes if (mark := node.annotations.get(EPOCH_ANNOTATION, "")).isdigit()]
        body = await self.api.get(self.lease.path)
        absent = LeaseRecord.absent(self.lease.namespace, self.lease.name)
        record = LeaseRecord.read(body) if body else absent
        epoch = Epoch(max([record.epoch, *marks]) + 1)
        now = self.clock.now()
        term = Term(holder=OURSELVES, epoch=epoch, duration=HELD_FOR, acquired=now)
        written = record.written(term, now)
        await (self.api.put(self.lease.path, written) if body else self.api.post(self.lease.collection, written))
        return Takeover(lease=self.lease, holder=term.holder, epoch=epoch)

    async def _pass(self, takeover: Takeover, only: Sequence[NodeName]) -> tuple[NodeName, ...]:
        """One step with each claimed node; those that are not home yet."""
        nodes = (await read_all(self.api, NODES, read_node)).items
        claimed = [node for node in nodes if node.claim is not None and (not only or node.name in only)]
        for node in claimed:
            try:
                await self._step(takeover, node.name)
            except (Conflict, Unavailable) as exc:
                self.say(f"{node.name}: {exc}; trying again")
        return tuple(node.name for node in claimed)

    async def _step(self, takeover: Takeover, name: NodeName) -> None:
        fleet = KubernetesFleet(self.api, self.clock)
        node = await fleet.fresh(name)
        if node is None or node.claim is None:
            return
        now = self.clock.now()
        recalled = node.claim.step is MoveStep.RECALLED
        moves = KubernetesMoves(self.api)
        # Nobody lowers replicas for us: pods are asked to leave at once, with their own grace.
        scene = Scene(now=Instant(node.claim.step_deadline + 1.0) if recalled else now)
        match next_action(node, node.claim, WHY, scene):
            case Enter(claim=claim):
                await moves.enter(node, claim, takeover.epoch)
                self.say(f"{name}: {claim.step}")
            case Release(claim=claim):
                await moves.release(node, claim, takeover.epoch)
                self.say(f"{name}: home in {claim.home}")
            case Wait(why=why):
                self.say(f"{name}: {why}")
            case Evict() | Withdraw() | Notify() as action:
                await self._speak(action)

    async def _speak(self, action: Evict | Withdraw | Notify) -> None:
        objects = KubernetesObjects(self.api, self.clock)
        match action:
            case Evict(pods=pods):
                for pod in pods:
                    await objects.evict(pod)
            case Withdraw(pods=pods):
                for pod in pods:
                    await objects.annotate_pod(pod, WITHDRAWN)
            case Notify():
                raise AssertionError("a node that goes home tells nobody to leave")

    async def _restore_replicas(self) -> None:
        objects = KubernetesObjects(self.api, self.clock)
        for found, _ in await self._policies():
            reference, replicas = workload_ref(found), found.status.replicas_found
            if reference is None or replicas is None:
                continue
            scale = await objects.read_scale(reference)
            if scale is not None and scale.wanted != replicas:
                await objects.set_replicas(reference, replicas, scale)
                self.say(f"{found.policy.key}: {reference.name} back to {replicas} replicas")

    async def _resume_rollouts(self) -> None:
        rollouts = KubernetesRollouts(self.api)
        for held in await rollouts.held():
            if held.view.mark is None:
                continue
            try:
                await rollouts.write(held, letting_go(held.view), held.view.mark)
            except (Conflict, Missing) as exc:
                self.say(f"{held.workload.name}: its rollout was not resumed: {exc}; see kubectl rollout resume")
                continue
            self.say(f"{held.workload.namespace}/{held.workload.name}: updates go on")

    async def _policies(self) -> list[tuple[PolicyObject, dict[str, Any]]]:
        bodies = (await read_all(self.api, POLICIES, _decoded)).items
        found: list[tuple[PolicyObject, dict[str, Any]]] = []
        for body in bodies:
            try:
                found.append((read_policy(body), body))
            except InvalidInput as exc:
                self.say(f"left alone: {exc}")
        return found

    async def _release_agents(self, found: PolicyObject, key: SigningKey) -> None:
        pods = (await read_all(self.api, PODS, read_pod)).items
        body = await self.api.get(self.lease.path)
        epoch = LeaseRecord.read(body).epoch if body else Epoch(1)
        stamp = Stamp(epoch=epoch, revision=Revision(1), at=self.clock.now())
        ours = [
            pod
            for pod in pods
            if pod.namespace == found.policy.namespace
            and found.service.selector.matches(pod.labels)
            and pod.ready
            and pod.ip
        ]
        async with AgentPush(key) as sink:
            for pod in ours:
                target = Target(pod=pod.uid, name=pod.name, address=pod.ip, port=found.service.agent_port)
                try:
                    await sink.push(target, released(found.policy, pod.uid, stamp))
                except (Unavailable, InvalidInput) as exc:
                    self.say(f"{pod.name} was not released: {exc}; its lease ends by itself")

    async def _drop_finalizer(self, path: str, body: dict[str, Any]) -> bool:
        metadata = body["metadata"]
        if not isinstance(metadata, dict) or FINALIZER not in metadata.get("finalizers", []):
            return False
        left = [name for name in metadata["finalizers"] if name != FINALIZER]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": left}}
        try:
            await self.api.patch(path, msgspec.json.encode(patch), PatchKind.MERGE)
        except Conflict:
            self.say(f"{path} was changed meanwhile; looking again")
        return True


def stays_bought(found: PoolObject) -> str:
    """What nobody gives back once the operator is gone; "" where nothing was bought."""
    scaling, status = found.pool.scaling, found.status.provider
    count = status.on_order + status.here if status is not None else 0
    if scaling is None or count == 0:
        return ""
    where = f" -n {scaling.namespace}" if scaling.namespace else ""
    return (
        f"pool {found.pool.name}: {count} bought nodes stay and cost on, for only the operator gives them back; scale "
        f"{scaling.kind} {scaling.name}{where} down by {count}, or delete the GPUPool before the operator goes"
    )


def _policy_path(found: PolicyObject) -> str:
    group = POLICIES.removesuffix("/imageservicepolicies")
    return f"{group}/namespaces/{found.policy.namespace}/imageservicepolicies/{found.policy.name}"


def _decoded(raw: msgspec.Raw) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])
