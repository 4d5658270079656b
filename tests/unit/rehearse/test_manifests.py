from pathlib import Path
from typing import Any

import pytest
import yaml

from meltguard.core.policy import Mode
from meltguard.errors import InvalidInput
from meltguard.rehearse.manifests import read_manifests
from support.objects import REMOVED, edited
from support.rehearsals import INFERENCE, NAMESPACE, POLICY, RESEARCH, written


def test_a_policy_with_its_pools_and_namespace_is_read(tmp_path: Path) -> None:
    found = read_manifests([written(tmp_path, POLICY, INFERENCE, RESEARCH, NAMESPACE)])
    assert found.policy.policy.key == "serving/image-gen"
    assert [one.pool.name for one in found.pools] == ["inference", "research"]
    assert found.namespace_labels == {"team": "serving"}
    assert found.notes == ()


def test_objects_of_other_kinds_are_passed_over(tmp_path: Path) -> None:
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "image-gen"}}
    assert read_manifests([written(tmp_path, deployment, POLICY, INFERENCE, RESEARCH)]).name == "all.yaml"


def test_a_list_is_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(yaml.safe_dump({"kind": "List", "items": [dict(POLICY), dict(INFERENCE), dict(RESEARCH)]}))
    assert len(read_manifests([path]).pools) == 2


def test_pools_of_other_files_count_where_a_compared_policy_names_none(tmp_path: Path) -> None:
    beside = written(tmp_path, POLICY, INFERENCE, RESEARCH)
    other = written(tmp_path, edited(POLICY, {"spec.capacity.maxLoans": 1}), name="other.yaml")
    found = read_manifests([other], [beside])
    assert found.name == "other.yaml"
    assert found.policy.policy.capacity is not None
    assert found.policy.policy.capacity.max_loans == 1
    assert len(found.pools) == 2


def test_a_pool_of_its_own_stands_above_that_of_other_files(tmp_path: Path) -> None:
    beside = written(tmp_path, POLICY, INFERENCE, RESEARCH)
    other = written(tmp_path, POLICY, edited(RESEARCH, {"spec.lending.floor": 3}), name="other.yaml")
    [research] = [one.pool for one in read_manifests([other], [beside]).pools if one.pool.name == "research"]
    assert research.lending is not None
    assert research.lending.floor == 3


def test_what_is_taken_otherwise_than_written_is_said(tmp_path: Path) -> None:
    query = {
        "name": "backlog",
        "query": "max(q)",
        "freshnessQuery": "max(t)",
        "calm": "1",
        "target": "2",
        "critical": "3",
    }
    edits = {
        "spec.mode": "Shadow",
        "spec.tiers.0.quota": {"images": 3, "per": "day", "timeZone": "UTC"},
        "spec.metrics.signals": [*POLICY["spec"]["metrics"]["signals"], query],
    }
    policy = edited(POLICY, edits)
    found = read_manifests([written(tmp_path, policy, INFERENCE, RESEARCH)])
    assert found.policy.policy.mode is Mode.ENFORCE
    assert [signal.name for signal in found.policy.policy.signals] == ["wait", "utilization"]
    assert found.namespace_labels == {"team": "serving"}
    shadow, left, quota, namespace = found.notes
    assert "Shadow is rehearsed as Enforce" in shadow
    assert left == (
        "left out: signal backlog (query); a rehearsal answers agent-wait, gpu-temperature, gpu-utilization"
    )
    assert "quota of free" in quota
    assert "team=serving" in namespace


def test_a_policy_that_names_no_workload_is_taken_to_be_scaled_by_somebody_else(tmp_path: Path) -> None:
    policy = edited(POLICY, {"spec.service.workloadRef": REMOVED})
    found = read_manifests([written(tmp_path, policy, INFERENCE, RESEARCH, NAMESPACE)])
    [note] = found.notes
    assert note.startswith("no spec.service.workloadRef: somebody else")


CASES = {
    "no policy": ([INFERENCE], "one ImageServicePolicy is rehearsed at a time, found none"),
    "two policies": (
        [POLICY, edited(POLICY, {"metadata.name": "other"})],
        "found image-gen, other.*--compare",
    ),
    "a pool is missing": ([POLICY, INFERENCE], "names pool 'research', and no file has that GPUPool .found inference"),
    "a wrong value": (
        [edited(POLICY, {"spec.tiers.0.floor": "lots"}), INFERENCE, RESEARCH],
        r"all.yaml: ImageServicePolicy image-gen: spec.tiers.0.floor: floor must be a percentage",
    ),
    "a field that nobody knows": (
        [edited(POLICY, {"spec.tiers.0.maxWiat": "3s"}), INFERENCE, RESEARCH],
        "spec.tiers.0.maxWiat: there is no such field",
    ),
    "a wrong pool": (
        [POLICY, INFERENCE, edited(RESEARCH, {"spec.lending.maxLoans": "many"})],
        "GPUPool research: spec.lending.maxLoans: .*got 'many'",
    ),
    "no name": ([edited(POLICY, {"metadata": {}}), INFERENCE], "ImageServicePolicy without metadata.name"),
    "no kind": ([{"a": 1}], "an object without a kind"),
}


@pytest.mark.parametrize(("bodies", "said"), CASES.values(), ids=CASES)
def test_what_is_wrong_is_said_with_file_object_field_and_value(tmp_path: Path, bodies: list[Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_manifests([written(tmp_path, *bodies)])


def test_a_file_that_is_not_there_or_no_yaml_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nothing.yaml: cannot be read"):
        read_manifests([tmp_path / "nothing.yaml"])
    path = tmp_path / "torn.yaml"
    path.write_text("a: [")
    with pytest.raises(InvalidInput, match=r"torn.yaml: is no YAML: while parsing"):
        read_manifests([path])
