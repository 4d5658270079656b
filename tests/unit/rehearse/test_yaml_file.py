from pathlib import Path

import pytest
from pydantic import ValidationError

from meltguard.errors import InvalidInput
from meltguard.rehearse.fleet_plan import FleetPlan
from meltguard.rehearse.yaml_file import documents, in_words


def said(body: object) -> str:
    """What is said of a fleet that is none."""
    with pytest.raises(ValidationError) as wrong:
        FleetPlan.model_validate(body)
    return in_words(wrong.value, "ask Ada")


def test_every_wrong_field_is_named_with_its_value() -> None:
    assert said({"pools": {"a": {"nodes": -1, "gpu": 8}}}) == (
        "pools.a.nodes: Input should be greater than or equal to 0 (got -1); "
        "pools.a.gpu: there is no such field; ask Ada"
    )


def test_a_value_that_is_missing_or_long_is_left_out() -> None:
    assert said({"pools": {"a": {}}}) == "pools.a.nodes: Field required"
    assert "got" not in said({"pools": {"a": {"nodes": "many " * 20}}})
    assert said(3).startswith("the object: ")


def test_a_file_that_cannot_be_read_says_what_to_give(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("a: 1\n---\nb: 2\n")
    assert documents(path, "give one") == [{"a": 1}, {"b": 2}]
    path.write_bytes(b"\xff\xff")
    with pytest.raises(InvalidInput, match=r"f.yaml: cannot be read .*; give one"):
        documents(path, "give one")
