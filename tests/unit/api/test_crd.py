"""The generated schemas are what Kubernetes calls structural, bounded and explained."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from meltguard.api.crd import RESOURCES, crd, crd_text, structural
from meltguard.api.resource import CustomResource

Node = dict[str, Any]
IDS = [resource.kind for resource in RESOURCES]
every_resource = pytest.mark.parametrize("resource", RESOURCES, ids=IDS)


def nodes(schema: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every part of a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


@every_resource
def test_nothing_of_pydantic_is_left(resource: CustomResource) -> None:
    strange = {
        "$ref",
        "$defs",
        "title",
        "anyOf",
        "oneOf",
        "allOf",
        "const",
        "exclusiveMinimum",
        "nullable",
        "prefixItems",
    }
    assert [(path, strange & node.keys()) for path, node in nodes(structural(resource)) if strange & node.keys()] == []


@every_resource
def test_everything_has_a_type(resource: CustomResource) -> None:
    untyped = [path for path, node in nodes(structural(resource)) if "type" not in node]
    assert [path for path in untyped if path != ".spec.lending.floor"] == []


@every_resource
def test_every_field_is_explained_in_a_sentence(resource: CustomResource) -> None:
    fields = [(path, node) for path, node in nodes(structural(resource)) if not path.endswith(("[]", "{}"))]
    silent = [path for path, node in fields if not node.get("description", "").strip().endswith((".", ")"))]
    assert [path for path in silent if path not in {".metadata", ".metadata.name"}] == []
    assert [path for path, node in fields if "\n" in node.get("description", "")] == []


@every_resource
def test_everything_is_bounded(resource: CustomResource) -> None:
    bounds = {"string": "maxLength", "array": "maxItems"}
    parts = [part for part in nodes(structural(resource)) if part[0] not in {".apiVersion", ".kind"}]
    boundless = [path for path, node in parts if (wanted := bounds.get(node.get("type", ""))) and wanted not in node]
    assert boundless == []
    maps = [node for _, node in parts if "additionalProperties" in node]
    assert all("maxProperties" in node for node in maps)


@every_resource
def test_every_list_says_how_managers_share_it(resource: CustomResource) -> None:
    lists = [(path, node) for path, node in nodes(structural(resource)) if node.get("type") == "array"]
    mute = [path for path, node in lists if "x-kubernetes-list-type" not in node]
    assert [path for path in mute if path.startswith(".spec")] == []
    keyed = [node for _, node in lists if node.get("x-kubernetes-list-type") == "map"]
    assert all(set(node["x-kubernetes-list-map-keys"]) <= set(node["items"]["required"]) for node in keyed)


@every_resource
def test_status_has_no_defaults(resource: CustomResource) -> None:
    status = structural(resource)["properties"]["status"]
    assert [path for path, node in nodes(status) if "default" in node] == []


@every_resource
def test_a_default_keeps_its_own_bounds(resource: CustomResource) -> None:
    given = [(path, node) for path, node in nodes(structural(resource)) if "default" in node]
    assert len(given) > 5
    wrong = [path for path, node in given if "enum" in node and node["default"] not in node["enum"]]
    assert wrong == []


@every_resource
def test_every_rule_has_a_sentence(resource: CustomResource) -> None:
    rules = [rule for _, node in nodes(structural(resource)) for rule in node.get("x-kubernetes-validations", ())]
    assert len(rules) > 15
    assert [rule for rule in rules if len(rule["message"]) < 30] == []


def test_names_and_scopes() -> None:
    policies, pools = map(crd, RESOURCES)
    assert policies["metadata"]["name"] == "imageservicepolicies.meltguard.io"
    assert policies["spec"]["scope"] == "Namespaced"
    assert policies["spec"]["names"]["shortNames"] == ["isp"]
    assert pools["metadata"]["name"] == "gpupools.meltguard.io"
    assert pools["spec"]["scope"] == "Cluster"
    assert pools["spec"]["names"]["shortNames"] == ["gpool"]


def test_a_policy_can_be_selected_by_mode_and_pool() -> None:
    version = crd(RESOURCES[0])["spec"]["versions"][0]
    assert version["selectableFields"] == [{"jsonPath": ".spec.mode"}, {"jsonPath": ".spec.capacity.pool"}]


@every_resource
def test_the_text_is_the_data(resource: CustomResource) -> None:
    text = crd_text(resource)
    assert text.startswith("# Generated")
    assert text.count("\nmetadata:\n") == 1, "the chart puts its labels there"
    assert yaml.safe_load(text) == crd(resource)


def test_the_text_is_the_same_in_every_process() -> None:
    program = "from meltguard.api.crd import *; import sys; sys.stdout.write(''.join(map(crd_text, RESOURCES)))"
    texts = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {"".join(map(crd_text, RESOURCES)).encode()}
