"""What guards a pod is found as if every budget and every Job were looked at."""

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.fleet import Budget, Guards
from meltguard.core.guarded import Guarded, is_meant
from meltguard.core.service import Comparison, Requirement, Selector
from support.calls import counted_calls
from support.core_values import a_job, a_pod
from support.large_fleet import guards_of

TEXTS = st.sampled_from(["a", "b", "c"])
LABELS = st.dictionaries(TEXTS, TEXTS, max_size=2)
HAS_ONE = Requirement(key="a", comparison=Comparison.EXISTS, values=frozenset())
SELECTORS = st.builds(
    lambda labels, more: Selector(labels=labels, requirements=more), LABELS, st.sampled_from([(), (HAS_ONE,)])
)
BUDGETS = st.lists(st.tuples(TEXTS, st.none() | SELECTORS), max_size=6)


@given(made=BUDGETS, namespace=TEXTS, labels=LABELS)
def test_each_pod_has_the_budgets_that_mean_it_in_their_order(
    made: list[tuple[str, Selector | None]], namespace: str, labels: dict[str, str]
) -> None:
    budgets = tuple(
        Budget(namespace=space, name=f"b{place}", uid=f"b{place}", selector=selector, allowed=1, never="")
        for place, (space, selector) in enumerate(made)
    )
    pod = a_pod(namespace=namespace, labels=labels)
    meant = tuple(budget for budget in budgets if is_meant(budget, pod))
    assert Guarded.by(Guards(budgets=budgets)).budgets_of(pod) == meant


def test_a_job_is_found_by_its_uid_and_owns_pods_of_jobs_only() -> None:
    guards = Guarded.by(Guards(jobs=(a_job("other"), a_job())))
    assert guards.job_of(a_pod(owner_uid="train-uid")) == a_job()
    assert guards.job_of(a_pod(owner_uid="gone")) is None
    assert guards.job_of(a_pod(owner_kind="ReplicaSet", owner_uid="train-uid")) is None


def test_what_is_pledged_is_added_to_what_was() -> None:
    guards = Guarded.by(Guards(pledged=(a_pod("first"),))).pledging([a_pod("second")])
    assert [pod.name for pod in guards.pledged] == ["first", "second"]


def test_a_pod_is_compared_with_the_budgets_of_its_labels_only() -> None:
    guards = Guarded.by(guards_of(5_000))
    with counted_calls() as calls:
        assert [budget.name for budget in guards.budgets_of(a_pod(labels={"team": "7"}))] == ["b7"]
    assert calls["is_meant"] == 1
