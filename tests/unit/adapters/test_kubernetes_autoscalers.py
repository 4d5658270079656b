"""Whoever else sets a workload's replicas is named; who does not is left out."""

import pytest

from meltguard.adapters.kubernetes_autoscalers import (
    HpaMetadata,
    HpaShape,
    HpaSpec,
    HpaTarget,
    ManagedFields,
    OwnerShape,
    applier,
    autoscaler,
)
from meltguard.adapters.scale_shape import WorkloadRef

WORKLOAD = WorkloadRef(api_version="apps/v1", kind="Deployment", name="image-gen", namespace="serving")
KEDA = OwnerShape(kind="ScaledObject", name="by-queue")


def an_hpa(owner: OwnerShape | None = None, **target: str) -> HpaShape:
    aimed = {"kind": "Deployment", "name": "image-gen", "api_version": "apps/v1"} | target
    metadata = HpaMetadata(name="by-cpu", owner_references=(owner,) if owner else None)
    return HpaShape(metadata=metadata, spec=HpaSpec(scale_target_ref=HpaTarget(**aimed)))


def fields(manager: str, subresource: str = "", spec: object = None) -> ManagedFields:
    owned = {"f:spec": {"f:replicas": {}} if spec is None else spec}
    return ManagedFields(manager=manager, subresource=subresource, fields_v1=owned)


def test_keda_is_named_as_people_know_it() -> None:
    assert autoscaler([an_hpa(KEDA)], WORKLOAD) == "KEDA's ScaledObject by-queue"
    assert autoscaler([an_hpa()], WORKLOAD) == "HorizontalPodAutoscaler by-cpu"
    assert autoscaler([an_hpa(api_version="")], WORKLOAD), "an old object may not name the group"


ELSEWHERE = {
    "another name": {"name": "other"},
    "another kind": {"kind": "StatefulSet"},
    "a group": {"api_version": "x/v1"},
}


@pytest.mark.parametrize("target", ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_autoscaler_of_something_else_is_none(target: dict[str, str]) -> None:
    assert autoscaler([an_hpa(**target)], WORKLOAD) == ""


def test_a_gitops_tool_that_applies_the_number_is_a_writer() -> None:
    assert "argocd-controller" in applier([fields("kubectl"), fields("argocd-controller")])


HARMLESS = {
    "a person's kubectl": fields("kubectl-client-side-apply"),
    "GitOps without the number": fields("kustomize-controller", spec={"f:template": {}}),
    "our own scale": fields("meltguard", "scale"),
    "nothing told": ManagedFields(manager="argocd-controller"),
}


@pytest.mark.parametrize("one", HARMLESS.values(), ids=HARMLESS)
def test_what_does_not_put_its_number_back_is_none(one: ManagedFields) -> None:
    assert applier([one]) == ""
