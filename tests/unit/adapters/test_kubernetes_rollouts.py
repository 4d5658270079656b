"""An update is seen while pods of an older template are replaced, and not where it is stuck or held."""

import json
from typing import Any

import msgspec
import pytest

from meltguard.adapters.kubernetes_rollouts import DeploymentShape

STUCK = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
GOING = [{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}]


def shape(spec: dict[str, Any], status: dict[str, Any]) -> DeploymentShape:
    body = {"metadata": {"name": "web", "uid": "u", "namespace": "serving"}, "spec": spec, "status": status}
    return msgspec.json.decode(json.dumps(body).encode(), type=DeploymentShape)


@pytest.mark.parametrize(
    ("spec", "status", "updating"),
    [
        ({}, {"replicas": 4, "updatedReplicas": 4}, False),
        ({}, {"replicas": 5, "updatedReplicas": 1, "conditions": GOING}, True),
        ({}, {"replicas": 5, "conditions": GOING}, True),
        ({}, {"replicas": 5, "updatedReplicas": 1, "conditions": STUCK}, False),
        ({"paused": True}, {"replicas": 5, "updatedReplicas": 1}, False),
        ({"replicas": 0}, {}, False),
    ],
)
def test_what_counts_as_an_update(spec: dict[str, Any], status: dict[str, Any], *, updating: bool) -> None:
    assert shape(spec, status).updating is updating
