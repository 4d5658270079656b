"""Promises about pods: what is ours to move leaves through the Eviction API, or not at all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from meltguard.demo.check.audit import Write


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """A pod as a snapshot of the cluster had it."""

    uid: str
    namespace: str
    name: str
    node: str


class Preconditions(msgspec.Struct, frozen=True):
    """What an eviction insists on."""

    uid: str = ""


class DeleteOptions(msgspec.Struct, frozen=True):
    """How an eviction deletes."""

    preconditions: Preconditions = Preconditions()


class EvictionObject(msgspec.Struct, frozen=True, rename="camel"):
    """An eviction."""

    delete_options: DeleteOptions = DeleteOptions()


def accepted_evictions(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Evictions that the API server granted, whoever asked."""
    return tuple(w for w in writes if w.about("pods", "eviction") and w.verb == "create" and w.accepted)


def deleted_without_eviction(
    writes: Sequence[Write], identity: str, pods: tuple[Sequence[PodSeen], Sequence[PodSeen]]
) -> tuple[str, ...]:
    """Pods that left in a way that they must not, as sentences.

    That is every pod that `identity` deleted, and every pod of `pods[0]` (the lender's work, as first seen) that is not
    in `pods[1]` (as last seen) and was not evicted.
    """
    ours = [
        f"{w.ref.namespace}/{w.ref.name or '*'} was deleted by {identity}"
        for w in writes
        if w.about("pods") and w.verb in {"delete", "deletecollection"} and w.accepted and w.user == identity
    ]
    before, after = pods
    evicted_uids, evicted_names = _evicted(writes)
    still = {pod.uid for pod in after}
    vanished = [
        f"{pod.namespace}/{pod.name} vanished from {pod.node}"
        for pod in before
        if pod.uid not in still and pod.uid not in evicted_uids and (pod.namespace, pod.name) not in evicted_names
    ]
    return tuple(ours + vanished)


def evictions_without_uid(writes: Iterable[Write], identity: str) -> tuple[str, ...]:
    """Evictions of ours that would have hit another pod of the same name, as sentences."""
    return tuple(
        f"{w.ref.namespace}/{w.ref.name} was evicted without its uid"
        for w in accepted_evictions(writes)
        if w.user == identity and not _asked_uid(w)
    )


def binds(writes: Iterable[Write]) -> Mapping[tuple[str, str], str]:
    """Which node each pod was bound to: (namespace, name) to node, as the scheduler wrote it."""
    bound: dict[tuple[str, str], str] = {}
    for write in writes:
        if write.about("pods", "binding") and write.accepted and write.asked:
            binding = msgspec.json.decode(write.asked, type=Binding)
            bound[write.ref.namespace, write.ref.name] = binding.target.name
    return bound


class Target(msgspec.Struct, frozen=True):
    """Where a pod is bound to."""

    name: str = ""


class Binding(msgspec.Struct, frozen=True):
    """A scheduler's decision."""

    target: Target = Target()


def _evicted(writes: Iterable[Write]) -> tuple[set[str], set[tuple[str, str]]]:
    granted = accepted_evictions(writes)
    unnamed = {(w.ref.namespace, w.ref.name) for w in granted if not _asked_uid(w)}
    return {_asked_uid(w) for w in granted}, unnamed


def _asked_uid(write: Write) -> str:
    if not write.asked:
        return ""
    return msgspec.json.decode(write.asked, type=EvictionObject).delete_options.preconditions.uid
