"""Policies as a person's tool reads and changes them: with that person's own rights, on any cluster."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from meltguard.adapters.kubernetes_client import KubernetesApi, PatchKind, Query, WatchEnd
from meltguard.adapters.kubernetes_errors import Expired
from meltguard.adapters.kubernetes_list import read_all, read_event
from meltguard.api.policy import ImageServicePolicy
from meltguard.controller.resources import POLICIES
from meltguard.core.policy import Mode
from meltguard.core.units import Seconds
from meltguard.errors import Conflict, InvalidInput

GROUP: Final = POLICIES.removesuffix("/imageservicepolicies")
MODE_BEFORE: Final = "meltguard.io/mode-before-pause"
WHY_PAUSED: Final = "meltguard.io/paused-because"
ATTEMPTS: Final = 5
WATCH_FOR: Final = WatchEnd(after=Seconds(300.0), silence=Seconds(330.0))
Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The policies of one namespace, or of all where `namespace` is None; of those, the ones that are selected."""

    api: KubernetesApi
    namespace: str | None
    selector: str = ""  # by labels, as kubectl has it

    @property
    def _path(self) -> str:
        return POLICIES if self.namespace is None else f"{GROUP}/namespaces/{self.namespace}/imageservicepolicies"

    async def bodies(self, name: str | None) -> list[Object]:
        """One policy, or all, as the API server has them.

        Raises:
            InvalidInput: there is none of that name; the text says which there are.
        """
        if name is not None and self.namespace is not None:
            body = await self.api.get(f"{self._path}/{name}")
            if body is not None:
                return [json.loads(body)]
        asked = {"labelSelector": self.selector} if self.selector else None
        found = sorted((await read_all(self.api, self._path, _decoded, asked)).items, key=_key)
        chosen = [body for body in found if name is None or body["metadata"]["name"] == name]
        if not chosen and name is not None:
            raise InvalidInput(f"there is no ImageServicePolicy {name} {self._where()}; there are: {_names(found)}")
        return chosen

    async def one(self, name: str) -> Object:
        """Exactly one. Raises InvalidInput as `bodies`, and where several namespaces have one of that name."""
        found = await self.bodies(name)
        if len(found) > 1:
            raise InvalidInput(f"there are several: {_names(found)}; name the namespace with -n")
        return found[0]

    async def changed(self) -> AsyncIterator[None]:
        """One item each time that any of them may have been written, until the reader stops.

        Raises:
            Unavailable: the API server went away.
        """
        async for _ in changed(self.api, self._path):
            yield

    async def edit(self, name: str, change: Callable[[Object], Object], query: Query | None = None) -> Object:
        """Merge what `change` makes of the policy into exactly that; once more where it has changed since.

        The result is the policy afterwards; with `dryRun` in the query, as it would be.

        Raises:
            InvalidInput: there is no such policy, `change` refuses, or the API server finds it wrong.
            Conflict: somebody writes it all the time.
        """
        for attempt in range(1, ATTEMPTS + 1):
            body = await self.one(name)
            patch = change(body)
            patch.setdefault("metadata", {})["resourceVersion"] = body["metadata"]["resourceVersion"]
            try:
                written = await self.api.patch(_path(body), json.dumps(patch).encode(), PatchKind.MERGE, query)
            except Conflict:
                if attempt == ATTEMPTS:
                    raise
                continue
            decoded: Object = json.loads(written)
            return decoded
        raise AssertionError("the last attempt ends in one of the ways above")

    async def who(self) -> str:
        """The caller, as the API server knows them."""
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = json.loads(await self.api.post(path, json.dumps(body).encode()))
        return str(answer.get("status", {}).get("userInfo", {}).get("username", ""))

    def _where(self) -> str:
        return "in any namespace" if self.namespace is None else f"in namespace {self.namespace}"


async def changed(api: KubernetesApi, path: str) -> AsyncIterator[None]:
    """One item when each watch begins, and each time that an object was written. Raises Unavailable as `watch` does.

    The item at the beginning is for what was written after the reader last looked: no watch tells of that.
    """
    while True:
        version = (await read_all(api, path, _decoded)).resource_version
        yield
        try:
            async with aclosing(api.watch(path, {"resourceVersion": version}, WATCH_FOR)) as lines:
                async for batch in lines:
                    for line in batch:
                        read_event(path, line)
                    yield
        except Expired:
            continue


def read(body: Object) -> ImageServicePolicy:
    """A policy's model. Raises InvalidInput where the object is none of this version."""
    try:
        return ImageServicePolicy.model_validate(body)
    except ValidationError as exc:
        name = body.get("metadata", {}).get("name", "?")
        raise InvalidInput(f"{name} is of another version than this tool: {exc.error_count()} fields differ") from exc


def paused(body: Object, reason: str) -> Object:
    """The change that pauses a policy; its mode is kept beside it. Raises InvalidInput where it is paused."""
    mode = body["spec"].get("mode", Mode.ENFORCE.value)
    if mode == Mode.PAUSED.value:
        raise InvalidInput(f"{body['metadata']['name']} is paused already")
    marks = {MODE_BEFORE: mode, WHY_PAUSED: reason}
    return {"metadata": {"annotations": marks}, "spec": {"mode": Mode.PAUSED.value}}


def resumed(body: Object) -> Object:
    """The change that gives a paused policy the mode that it had. Raises InvalidInput where it is not paused."""
    mode = body["spec"].get("mode", Mode.ENFORCE.value)
    if mode != Mode.PAUSED.value:
        raise InvalidInput(f"{body['metadata']['name']} is not paused: its mode is {mode}")
    before = (body["metadata"].get("annotations") or {}).get(MODE_BEFORE, Mode.ENFORCE.value)
    return {"metadata": {"annotations": {MODE_BEFORE: None, WHY_PAUSED: None}}, "spec": {"mode": before}}


def _decoded(raw: msgspec.Raw) -> Object:
    return msgspec.json.decode(raw, type=dict[str, Any])


def _key(body: Object) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _names(bodies: Sequence[Object]) -> str:
    return ", ".join("/".join(_key(body)) for body in bodies) or "none"


def _path(body: Object) -> str:
    namespace, name = _key(body)
    return f"{GROUP}/namespaces/{namespace}/imageservicepolicies/{name}"
