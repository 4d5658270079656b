"""A quota that follows loans: whatever is lent and given back, the number of the start is there at the end."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meltguard.core.fleet import Claim
from meltguard.core.lent_quota import Quota, QuotaMark, followed, on_loan
from meltguard.core.moves import new_claim
from meltguard.core.units import Gpus, Instant, NodeName, PoolName
from support.core_values import a_node, a_pool

GPU = "nvidia.com/gpu"
NODES = [NodeName(f"gpu-{number}") for number in range(6)]
LENT = st.dictionaries(st.sampled_from(NODES), st.integers(0, 16))
RESEARCH = PoolName("research")


def a_claim(home: str = "research") -> Claim:
    at = (Instant(1000.0), Instant(2000.0))
    return new_claim(a_node(pool=home), ("serving/image-gen", "uid"), (a_pool(home), a_pool("inference")), at, None)


@given(st.integers(0, 64), st.lists(LENT))
def test_any_loans_end_at_the_number_of_the_start_with_no_mark(nominal: int, story: list[dict[NodeName, int]]) -> None:
    start = quota = Quota(nominal=nominal)
    for lent in story:
        quota = followed(quota, lent)
        assert quota.nominal == max(0, nominal - sum(lent.values()))
        assert followed(quota, lent) == quota
    assert followed(quota, {}) == start


@given(st.integers(0, 64), st.integers(0, 64), LENT, st.lists(LENT))
def test_a_number_that_others_set_is_left_alone_until_nothing_is_lent(
    nominal: int, theirs: int, first: dict[NodeName, int], story: list[dict[NodeName, int]]
) -> None:
    quota = replace(followed(Quota(nominal=nominal), first), nominal=theirs)
    if not quota.overwritten:
        return
    for lent in story:
        if lent:
            assert followed(quota, lent) == quota
    assert followed(quota, {}) == Quota(nominal=theirs)


def test_a_number_below_what_is_lent_goes_to_nought_and_back() -> None:
    away = followed(Quota(nominal=4), {NODES[0]: 8})
    assert away == Quota(nominal=0, mark=QuotaMark(taken=4, wrote=0, nodes={NODES[0]: 8}))
    assert followed(away, {}) == Quota(nominal=4)


def test_once_the_mark_is_taken_off_the_number_is_followed_again() -> None:
    overwritten = replace(followed(Quota(nominal=24), {NODES[0]: 8}), nominal=32)
    assert overwritten.overwritten
    assert followed(replace(overwritten, mark=None), {NODES[0]: 8}).nominal == 24


def test_a_node_counts_from_its_claim_until_that_is_off() -> None:
    home = a_node("gpu-1", by_kind={GPU: Gpus(8)})
    gone = a_node("gpu-2", by_kind={GPU: Gpus(8), "nvidia.com/mig-1g.10gb": Gpus(7)}, claim=a_claim())
    other = a_node("gpu-3", by_kind={GPU: Gpus(8)}, claim=a_claim("elsewhere"))
    assert on_loan(GPU, [RESEARCH], [home, gone, other], {}) == {"gpu-2": 8}


def test_a_node_that_shows_no_gpu_any_more_is_no_less_lent() -> None:
    rebooted = a_node("gpu-2", by_kind={}, claim=a_claim())
    assert on_loan(GPU, [RESEARCH], [rebooted], {NodeName("gpu-2"): 8}) == {"gpu-2": 8}
    assert on_loan(GPU, [RESEARCH], [rebooted], {}) == {"gpu-2": 0}


def test_what_was_counted_goes_on_counting_while_its_claim_or_its_pool_cannot_be_read() -> None:
    noted = {NodeName("gpu-2"): 8}
    broken = a_node("gpu-2", claim_problem="it is cut", by_kind={GPU: Gpus(8)})
    assert on_loan(GPU, [RESEARCH], [broken], noted) == noted
    assert on_loan(GPU, [RESEARCH], [broken], {}) == {}
    assert on_loan(GPU, [], [a_node("gpu-2", claim=a_claim())], noted) == noted
    assert on_loan(GPU, [RESEARCH], [a_node("gpu-2", by_kind={GPU: Gpus(8)})], noted) == {}
