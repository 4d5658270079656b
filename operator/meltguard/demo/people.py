"""The person who steps in, and what she may do on the demo's cluster."""

from typing import Any, Final

from meltguard.demo.scene import SERVING

PERSON: Final = "ann@example.com"
"""Of the team that runs the service."""


def rights() -> dict[str, Any]:
    """Kubernetes' role `edit` in the service's namespace, which may write policies there, and nothing else."""
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "team", "namespace": SERVING},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": PERSON}],
    }
