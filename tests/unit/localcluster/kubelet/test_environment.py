from pathlib import Path
from typing import Any

import msgspec
import pytest

from meltguard.localcluster.kubelet.environment import Surroundings, command_of, environment_of, expand, localized
from meltguard.localcluster.kubelet.refusal import NotNow
from meltguard.localcluster.kubelet.shapes import Pod

AROUND = Surroundings(
    ip="127.70.255.1",
    node="local-runner",
    config_maps={"settings": {"size": b"7"}},
    secrets={"keys": {"private": b"abc"}},
    places={"/etc/keys": Path("/plane/keys"), "/etc": Path("/plane/etc"), "/tmp": Path("/plane/tmp")},  # noqa: S108
)


def a_pod(**container: Any) -> Pod:
    metadata = {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}}
    spec = {"containers": [{"name": "c", "image": "meltguard", **container}], "serviceAccountName": "clerk"}
    return msgspec.convert({"metadata": metadata, "spec": spec}, Pod)


EXPANSIONS = {
    "a known name": ("--pod=$(POD)", "--pod=a"),
    "an unknown name stays": ("$(WHO)", "$(WHO)"),
    "two dollars are one": ("$$(POD)", "$(POD)"),
    "no shell": ("$POD ${POD}", "$POD ${POD}"),
    "several": ("$(POD)-$(POD)", "a-a"),
    "a value is not expanded again": ("$(NESTED)", "$(POD)"),
}


@pytest.mark.parametrize(("text", "expanded"), EXPANSIONS.values(), ids=EXPANSIONS)
def test_variables_are_expanded_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"POD": "a", "NESTED": "$(POD)"}) == expanded


PLACES = {
    "a file below a mount": ("/etc/keys/private", "/plane/keys/private"),
    "the mount itself": ("/etc/keys", "/plane/keys"),
    "the longest mount wins": ("/etc/other", "/plane/etc/other"),
    "only whole names": ("/etcetera", "/etcetera"),
    "after an equals sign": ("--config=/etc/a=b", "--config=/plane/etc/a=b"),
    "all addresses": ("--listen=0.0.0.0:8080", "--listen=127.70.255.1:8080"),
    "all addresses alone": ("0.0.0.0", "127.70.255.1"),
    "other text": ("--name=x", "--name=x"),
}


@pytest.mark.parametrize(("text", "real"), PLACES.values(), ids=PLACES)
def test_paths_and_addresses_become_local_ones(text: str, real: str) -> None:
    assert localized(text, AROUND) == real


def test_variables_come_from_everywhere() -> None:
    def field(name: str, path: str) -> dict[str, Any]:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    pod = a_pod(
        env=[
            {"name": "PLAIN", "value": "x"},
            {"name": "LATER", "value": "$(PLAIN)/$(UNKNOWN)"},
            field("POD", "metadata.name"),
            field("SPACE", "metadata.namespace"),
            field("ID", "metadata.uid"),
            field("IP", "status.podIP"),
            field("NODE", "spec.nodeName"),
            field("WHO", "spec.serviceAccountName"),
            field("APP", "metadata.labels['app']"),
            {"name": "SIZE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "size"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "private"}}},
            {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "a", "optional": True}}},
            {"name": "FILE", "value": "/etc/keys/private"},
        ]
    )
    assert environment_of(pod, AROUND) == {
        "PLAIN": "x",
        "LATER": "x/$(UNKNOWN)",
        "POD": "web",
        "SPACE": "shop",
        "ID": "u-1",
        "IP": "127.70.255.1",
        "NODE": "local-runner",
        "WHO": "clerk",
        "APP": "web",
        "SIZE": "7",
        "KEY": "abc",
        "FILE": "/plane/keys/private",
    }


def test_a_missing_key_keeps_the_pod_waiting_and_is_named() -> None:
    reference = {"configMapKeyRef": {"name": "settings", "key": "colour"}}
    with pytest.raises(NotNow, match="'settings' with the key 'colour'"):
        environment_of(a_pod(env=[{"name": "A", "valueFrom": reference}]), AROUND)


def test_an_image_without_command_is_meltguard() -> None:
    container = a_pod(args=["operator", "--listen=$(IP):8080"]).spec.containers[0]
    assert command_of(container, {"IP": "1.2.3.4"}, AROUND) == ["meltguard", "operator", "--listen=1.2.3.4:8080"]
    container = a_pod(command=["python"], args=["-c", ""]).spec.containers[0]
    assert command_of(container, {}, AROUND) == ["python", "-c", ""]
