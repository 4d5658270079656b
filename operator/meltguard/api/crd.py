"""Models to CustomResourceDefinitions: the same bytes every time.

pydantic writes JSON Schema; Kubernetes takes structural schemas. So references are inlined, `X or null` becomes X,
titles and closed objects go.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

import yaml
from typing_extensions import override

from meltguard.api.policy import POLICY_RESOURCE
from meltguard.api.pool import POOL_RESOURCE
from meltguard.api.resource import GROUP, VERSION, Column, CustomResource

Schema = dict[str, Any]

RESOURCES: Final = (POLICY_RESOURCE, POOL_RESOURCE)
HEADER: Final = "# Generated from operator/meltguard/api by `make generate`. Do not edit.\n"
NOT_STRUCTURAL: Final = frozenset({"title", "additionalProperties", "$defs", "$ref", "anyOf"})
LONGEST_WORD: Final = 32
FIRST: Final = ("description", "type", "format", "enum", "default")
"""Keys that a reader wants to see before the others."""


class _Plain(yaml.SafeDumper):
    """YAML without anchors: two equal lists are written twice."""

    @override
    def ignore_aliases(self, data: object) -> bool:
        return True


def crd_text(resource: CustomResource) -> str:
    """The CRD as YAML, with a header that says where it comes from."""
    body = yaml.dump(crd(resource), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return f"{HEADER}{body}"


def crd(resource: CustomResource) -> Schema:
    """The CRD as plain data."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.full_name},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short_name],
                "categories": ["meltguard"],
            },
            "scope": resource.scope.value,
            "versions": [_version(resource)],
        },
    }


def _version(resource: CustomResource) -> Schema:
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in resource.columns],
        "selectableFields": [{"jsonPath": path} for path in resource.selectable],
        "schema": {"openAPIV3Schema": structural(resource)},
    }
    return {key: value for key, value in version.items() if value != []}


def _column(column: Column) -> Schema:
    shown: Schema = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
    }
    return {**shown, "priority": 1} if column.wide else shown


def structural(resource: CustomResource) -> Schema:
    """The schema of a whole object, structural: every type stated once, no references, nothing nullable."""
    written = resource.model.model_json_schema(by_alias=True, mode="validation")
    whole = _converted(written, written.get("$defs", {}))
    properties = whole["properties"]
    properties["metadata"] = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}}
    for standard in ("apiVersion", "kind"):
        properties[standard] = {"description": properties[standard]["description"], "type": "string"}
    properties["status"].pop("default", None)
    return {**whole, "required": ["spec"]}


def _converted(written: Mapping[str, Any], named: Mapping[str, Any]) -> Schema:
    plain = _resolved(written, named)
    schema: Schema = {key: plain[key] for key in FIRST if key in plain}
    schema |= {key: value for key, value in plain.items() if key not in NOT_STRUCTURAL}
    if "description" in schema:
        schema["description"] = " ".join(inspect.cleandoc(schema["description"]).split())
    if schema.get("type") == "string" and "enum" in schema:
        schema["maxLength"] = LONGEST_WORD  # or rules over it would count as boundless
    return _with_default(schema | _children(plain, named))


def _resolved(written: Mapping[str, Any], named: Mapping[str, Any]) -> Schema:
    """Follow references and drop the null of an optional field; what stands beside them wins."""
    if "$ref" in written:
        target = _resolved(named[written["$ref"].rpartition("/")[2]], named)
        return {**target, **{key: value for key, value in written.items() if key != "$ref"}}
    choices = [choice for choice in written.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        beside = {key: value for key, value in written.items() if key != "anyOf"}
        return {**_resolved(choices[0], named), **beside}
    if choices:
        beside = {key: value for key, value in written.items() if key != "anyOf"}
        return {**beside, "x-kubernetes-int-or-string": True}
    return dict(written)


def _with_default(schema: Schema) -> Schema:
    """Drop a default that says nothing; an object's is made of its fields' own, as rules see it before those apply."""
    if "default" not in schema:
        return schema
    given = schema.pop("default")
    if given is None or given in ("", []):
        return schema
    if schema["type"] == "object":
        fields = schema["properties"]
        given = {name: child["default"] for name, child in fields.items() if "default" in child}
    return {**{key: schema[key] for key in FIRST if key in schema}, "default": given, **schema}


def _children(plain: Schema, named: Mapping[str, Any]) -> Schema:
    children: Schema = {}
    if "properties" in plain:
        children["properties"] = {name: _converted(child, named) for name, child in plain["properties"].items()}
    if "items" in plain:
        children["items"] = _converted(plain["items"], named)
    if isinstance(plain.get("additionalProperties"), dict):
        children["additionalProperties"] = _converted(plain["additionalProperties"], named)
    return children
