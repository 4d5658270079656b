import json

import pytest

from meltguard.cli.chart_values import described_schema, read_values, values_table
from meltguard.errors import InvalidInput

VALUES = """\
# How many.
replicas: 2
# Where from.
image:
  # The name,
  # without registry.
  repository: meltguard
# Where it may run.
nodeSelector: {a/b: c}
# By name.
sources:
  default: {url: http://x}
"""
STRING = {"type": "string"}
SCHEMA = {
    "properties": {
        "replicas": {"type": "integer"},
        "image": {"properties": {"repository": STRING}},
        "nodeSelector": {"type": "object"},
        "sources": {"additionalProperties": {"properties": {"url": {**STRING, "description": "Its URL."}}}},
    }
}


def test_each_key_has_the_comment_above_it() -> None:
    found = {value.name: (value.comment, value.section) for value in read_values(VALUES)}
    assert found == {
        "replicas": ("How many.", False),
        "image": ("Where from.", True),
        "image.repository": ("The name, without registry.", False),
        "nodeSelector": ("Where it may run.", False),
        "sources": ("By name.", False),
    }


def test_the_table_lists_what_can_be_set() -> None:
    rows = values_table(read_values(VALUES)).splitlines()[2:]
    assert rows[1] == '| `image.repository` | `"meltguard"` | The name, without registry. |'
    assert rows[2] == '| `nodeSelector` | `{"a/b": "c"}` | Where it may run. |'
    assert len(rows) == 4


def test_a_key_without_a_comment_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"line 13: bare has no comment"):
        read_values(VALUES + "bare: 1\n")


def test_comments_become_the_schemas_descriptions() -> None:
    described = json.loads(described_schema(json.dumps(SCHEMA), read_values(VALUES)))
    assert described["properties"]["image"]["description"] == "Where from."
    assert described["properties"]["image"]["properties"]["repository"]["description"] == "The name, without registry."


def test_a_key_that_the_schema_lacks_is_refused() -> None:
    schema = {"properties": {"replicas": {}}}
    with pytest.raises(InvalidInput, match="has no image: write its type there"):
        described_schema(json.dumps(schema), read_values(VALUES))


def test_an_undescribed_key_of_the_schema_is_refused() -> None:
    schema = json.loads(json.dumps(SCHEMA))
    schema["properties"]["sources"]["additionalProperties"]["properties"]["token"] = STRING
    with pytest.raises(InvalidInput, match=r"undescribed in values.schema.json: sources.\*.token"):
        described_schema(json.dumps(schema), read_values(VALUES))
