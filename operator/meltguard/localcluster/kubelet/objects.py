"""Reads the ConfigMaps and Secrets that a pod refers to, as the node's own identity."""

import base64
from collections.abc import Iterator, Mapping

import msgspec

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.localcluster.kubelet.environment import Data
from meltguard.localcluster.kubelet.shapes import Pod


class _ConfigMap(msgspec.Struct, rename="camel"):
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


class _Secret(msgspec.Struct):
    data: dict[str, str] = {}


class Objects:
    """The namespace's ConfigMaps and Secrets; only those that exist are in the results."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    async def config_maps(self, pod: Pod) -> Mapping[str, Data]:
        """Every ConfigMap that the pod names.

        Raises:
            Unavailable: the API server does not answer, or does not yet let this node read one.
        """
        found: dict[str, Data] = {}
        for name in sorted(set(_config_maps(pod))):
            body = await self._api.get(f"/api/v1/namespaces/{pod.metadata.namespace}/configmaps/{name}")
            if body is not None:
                read = msgspec.json.decode(body, type=_ConfigMap)
                texts = {key: text.encode() for key, text in read.data.items()}
                found[name] = texts | {key: base64.b64decode(text) for key, text in read.binary_data.items()}
        return found

    async def secrets(self, pod: Pod) -> Mapping[str, Data]:
        """Every Secret that the pod names; raises as above."""
        found: dict[str, Data] = {}
        for name in sorted(set(_secrets(pod))):
            body = await self._api.get(f"/api/v1/namespaces/{pod.metadata.namespace}/secrets/{name}")
            if body is not None:
                read = msgspec.json.decode(body, type=_Secret)
                found[name] = {key: base64.b64decode(text) for key, text in read.data.items()}
        return found


def _config_maps(pod: Pod) -> Iterator[str]:
    for variable in pod.spec.containers[0].env:
        if variable.value_from and variable.value_from.config_map_key_ref:
            yield variable.value_from.config_map_key_ref.name
    for volume in pod.spec.volumes:
        if volume.config_map:
            yield volume.config_map.name


def _secrets(pod: Pod) -> Iterator[str]:
    for variable in pod.spec.containers[0].env:
        if variable.value_from and variable.value_from.secret_key_ref:
            yield variable.value_from.secret_key_ref.name
    for volume in pod.spec.volumes:
        if volume.secret:
            yield volume.secret.secret_name
