"""Budgets and Jobs on the wire."""

import json
from typing import Any

import pytest

from meltguard.adapters.guards_shape import read_budget, read_job
from meltguard.core.fleet import Budget, Job


def a_budget(status: dict[str, Any] | None = None, **spec: Any) -> Budget:
    body = {
        "metadata": {"name": "b", "namespace": "lab", "uid": "u", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, **spec},
        "status": {"disruptionsAllowed": 1, "expectedPods": 3, "observedGeneration": 2, **(status or {})},
    }
    return read_budget(json.dumps(body).encode())


SYNC_FAILED = {"conditions": [{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed"}]}
NEVER = {
    "maxUnavailable 0": (a_budget(maxUnavailable=0), "allow at least 1"),
    "maxUnavailable 0%": (a_budget(maxUnavailable="0%"), "allow at least 1"),
    "minAvailable 100%": (a_budget(minAvailable="100%"), "leave room"),
    "minAvailable of all": (a_budget(minAvailable=3), "leave room"),
    "pods that cannot be counted": (a_budget(SYNC_FAILED, maxUnavailable=1), "use minAvailable"),
}


@pytest.mark.parametrize(("budget", "step"), NEVER.values(), ids=NEVER)
def test_a_budget_that_can_never_allow_says_what_to_change(budget: Budget, step: str) -> None:
    assert step in budget.never


MAY = {
    "minAvailable below the pods": a_budget(minAvailable=2),
    "a share": a_budget(minAvailable="50%"),
    "maxUnavailable": a_budget(maxUnavailable=1),
    "no pods yet": a_budget({"expectedPods": 0}, minAvailable=3),
}


@pytest.mark.parametrize("budget", MAY.values(), ids=MAY)
def test_a_budget_that_may_allow(budget: Budget) -> None:
    assert budget.never == ""
    assert budget.allowed == 1


def test_a_budget_that_was_just_edited_allows_nothing_yet() -> None:
    budget = a_budget({"observedGeneration": 1}, maxUnavailable=0)
    assert (budget.allowed, budget.never) == (0, "")


SELECTORS: dict[str, tuple[Any, bool]] = {
    "labels": ({"matchLabels": {"app": "x"}}, True),
    "other labels": ({"matchLabels": {"app": "y"}}, False),
    "expressions": ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
    "everything": ({}, True),
}


@pytest.mark.parametrize(("selector", "meant"), SELECTORS.values(), ids=SELECTORS)
def test_which_pods_it_means(selector: Any, *, meant: bool) -> None:
    read = a_budget(selector=selector).selector
    assert read is not None
    assert read.matches({"app": "x"}) is meant


def test_a_budget_without_selector_means_no_pod() -> None:
    assert a_budget(selector=None).selector is None


def a_job(failed: int = 0, **spec: Any) -> Job:
    body = {"metadata": {"name": "j", "namespace": "lab", "uid": "u"}, "spec": spec, "status": {"failed": failed}}
    return read_job(json.dumps(body).encode())


def ignoring(action: str, condition: str = "DisruptionTarget") -> dict[str, Any]:
    return {"rules": [{"action": action, "onPodConditions": [{"type": condition, "status": "True"}]}]}


JOBS = {
    "the default": (a_job(), (6, False)),
    "some have failed": (a_job(2, backoffLimit=3), (1, False)),
    "none may fail": (a_job(backoffLimit=0), (0, False)),
    "more failed than may": (a_job(9, backoffLimit=3), (0, False)),
    "by index": (a_job(backoffLimit=100, backoffLimitPerIndex=1), (1, False)),
    "evictions are ignored": (a_job(backoffLimit=0, podFailurePolicy=ignoring("Ignore")), (0, True)),
    "evictions fail it": (a_job(backoffLimit=2, podFailurePolicy=ignoring("FailJob")), (2, False)),
    "something else is ignored": (a_job(backoffLimit=2, podFailurePolicy=ignoring("Ignore", "Other")), (2, False)),
}


@pytest.mark.parametrize(("job", "expected"), JOBS.values(), ids=JOBS)
def test_what_an_eviction_may_cost_a_job(job: Job, expected: tuple[int, bool]) -> None:
    assert (job.failures_left, job.forgives_disruption) == expected
