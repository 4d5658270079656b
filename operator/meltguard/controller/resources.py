"""The custom resources and namespaces, mirrored: what people ask for, as last seen."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.adapters.reflector import Changes, Reflector, Resource
from meltguard.api.to_core import PolicyObject, PoolObject, read_policy, read_pool
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput
from meltguard.ports import Clock

POLICIES = "/apis/meltguard.io/v1alpha1/imageservicepolicies"
POOLS = "/apis/meltguard.io/v1alpha1/gpupools"
NAMESPACES = "/api/v1/namespaces"
FINALIZER = "meltguard.io/finalizer"
"""Ours, on policies and pools: Kopf sets it, and `meltguard return` takes it off without loading Kopf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An object that the API server let in and we cannot read: it is left alone, and said so."""

    name: str  # namespace/name
    uid: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A namespace's labels."""

    name: str
    labels: Mapping[str, str]


class Resources:
    """Policies, pools and namespaces, each under its own mirror."""

    def __init__(self, api: KubernetesApi, clock: Clock) -> None:
        self.changes = Changes()
        policies = Resource(path=POLICIES, decode=_policy, key=_policy_uid)
        pools = Resource(path=POOLS, decode=_pool, key=_pool_uid)
        namespaces = Resource(path=NAMESPACES, decode=_namespace, key=lambda namespace: namespace.name)
        self._policies = Reflector(api, policies, self.changes, clock)
        self._pools = Reflector(api, pools, self.changes, clock)
        self._namespaces = Reflector(api, namespaces, self.changes, clock)

    async def run(self) -> NoReturn:
        """Mirror until cancelled."""
        async with asyncio.TaskGroup() as mirrors:
            for mirror in (self._policies, self._pools, self._namespaces):
                mirrors.create_task(mirror.run())
        raise AssertionError("mirrors end only by cancellation")

    async def synced(self) -> None:
        """Return once all three have been read completely."""
        for mirror in (self._policies, self._pools, self._namespaces):
            await mirror.synced()

    @property
    def age(self) -> Seconds:
        """Since the quietest mirror proved itself alive."""
        return Seconds(max(mirror.age for mirror in (self._policies, self._pools, self._namespaces)))

    def policies(self) -> dict[str, PolicyObject]:
        """Policies by uid."""
        return {uid: one for uid, one in self._policies.snapshot().items() if isinstance(one, PolicyObject)}

    def unreadable(self) -> tuple[Unreadable, ...]:
        """Objects that cannot be read."""
        everything = [*self._policies.snapshot().values(), *self._pools.snapshot().values()]
        return tuple(one for one in everything if isinstance(one, Unreadable))

    def policy_exists(self, uid: str) -> bool:
        """Whether the API server holds an object of this uid, readable or not."""
        return uid in self._policies.snapshot()

    def pools(self) -> tuple[PoolObject, ...]:
        """All pools, by name."""
        read = [one for one in self._pools.snapshot().values() if isinstance(one, PoolObject)]
        return tuple(sorted(read, key=lambda one: one.pool.name))

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """A namespace's labels; none where it is not known."""
        namespace = self._namespaces.snapshot().get(name)
        return namespace.labels if namespace else {}


class _Meta(msgspec.Struct, frozen=True):
    name: str
    uid: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta


_OBJECTS = msgspec.json.Decoder(_Object)


def _policy(raw: msgspec.Raw) -> PolicyObject | Unreadable:
    try:
        return read_policy(msgspec.json.decode(raw))
    except InvalidInput as exc:
        return _unreadable(raw, exc)


def _pool(raw: msgspec.Raw) -> PoolObject | Unreadable:
    try:
        return read_pool(msgspec.json.decode(raw))
    except InvalidInput as exc:
        return _unreadable(raw, exc)


def _unreadable(raw: msgspec.Raw, exc: InvalidInput) -> Unreadable:
    meta = _OBJECTS.decode(raw).metadata
    return Unreadable(name=f"{meta.namespace}/{meta.name}".lstrip("/"), uid=meta.uid, problem=str(exc))


def _namespace(raw: msgspec.Raw) -> Namespace:
    meta = _OBJECTS.decode(raw).metadata
    return Namespace(name=meta.name, labels=meta.labels)


def _policy_uid(one: PolicyObject | Unreadable) -> str:
    return one.policy.uid if isinstance(one, PolicyObject) else one.uid


def _pool_uid(one: PoolObject | Unreadable) -> str:
    return one.pool.uid if isinstance(one, PoolObject) else one.uid
