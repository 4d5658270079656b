"""Pairs come from pods of one model in the same seconds; each share of the pods is judged for itself too."""

import math

import pytest

from meltguard.core.comparison import SAMPLE, Compared, Comparison, Sample, Spent, verdict_at
from meltguard.core.trial import MOST, NO_PAIRS, Tally, Verdict

BY = 0.05


def a_sample(agent: str, seconds: float, cost: float, *, is_new: bool = False, model: str = "") -> Sample:
    spent = Spent(busy=seconds, done=seconds / cost)
    return Sample(agent=agent, revision="new" if is_new else "old", model=model, is_new=is_new, spent=spent)


def test_samples_are_what_pods_spent_since_their_last() -> None:
    so_far = Comparison()
    for second in range(1, 41):
        old = [a_sample("a", second, 1.0), a_sample("b", second, 1.0)]
        so_far = so_far.after([a_sample("new", second, 0.8, is_new=True), *old])
    found = so_far.found
    assert found.whole.count == 39 // math.ceil(SAMPLE * 0.8)
    assert found.whole.mean == pytest.approx(math.log(0.8))
    rates = found.rates(("old",))
    assert rates[0] == pytest.approx(1.25)
    assert rates[1] == pytest.approx(1.0)


def test_an_agent_that_starts_anew_is_compared_with_itself_only() -> None:
    def at(name: str, busy: float, done: float, *, is_new: bool) -> Sample:
        spent = Spent(busy=busy, done=done)
        return Sample(agent=name, revision="r", model="", is_new=is_new, spent=spent)

    first = Comparison().after([at("new-1", 100.0, 100.0, is_new=True), at("a", 9.0, 9.0, is_new=False)])
    again = first.after([at("new-2", 1.0, 50.0, is_new=True), at("a-2", 1.0, 99.0, is_new=False)])
    assert again.found.whole.count == 0
    assert again.found.rates(()) == (None, None)


def test_a_pod_is_paired_with_pods_of_its_own_model() -> None:
    """Half as fast a card makes no dearer image: the new pod there is compared with the old one there."""
    so_far = Comparison()
    for second in range(1, 61):
        so_far = so_far.after(
            [
                a_sample("new-fast", second, 0.8, is_new=True, model="fast"),
                a_sample("new-slow", second, 1.6, is_new=True, model="slow"),
                a_sample("old-fast", second, 1.0, model="fast"),
                a_sample("old-slow", second, 2.0, model="slow"),
            ]
        )
    assert so_far.found.whole.mean == pytest.approx(math.log(0.8))
    assert so_far.found.whole.spread == pytest.approx(0.0, abs=1e-9)


def test_a_new_share_has_a_count_of_its_own_and_the_whole_goes_on() -> None:
    so_far = Comparison(found=Compared(whole=CHEAPER, here=CHEAPER)).at_new_share()
    assert (so_far.found.whole, so_far.found.here) == (CHEAPER, NO_PAIRS)


def tally(mean: float, count: int = 200) -> Tally:
    return Tally(count=count, mean=mean, spread=0.01 * count, swings=0.02 * count)


CHEAPER, DEARER, EVEN = tally(-0.22), tally(0.18), tally(0.0)
CASES = {
    "cheaper at both": (CHEAPER, CHEAPER, Verdict.CHEAPER),
    "cheaper so far, and no pair here yet": (CHEAPER, NO_PAIRS, Verdict.OPEN),
    "cheaper so far, and surely not dearer here": (CHEAPER, EVEN, Verdict.CHEAPER),
    "cheaper so far, and too few pairs here": (CHEAPER, tally(0.0, 14), Verdict.OPEN),
    "cheaper so far, dearer here": (CHEAPER, DEARER, Verdict.DEARER),
    "dearer in all": (DEARER, EVEN, Verdict.DEARER),
    "no difference": (EVEN, EVEN, Verdict.EQUAL),
    "nothing certain here in as many pairs as are waited for": (CHEAPER, tally(0.06, MOST), Verdict.EQUAL),
}


@pytest.mark.parametrize(("whole", "here", "wanted"), CASES.values(), ids=CASES)
def test_both_counts_must_agree_before_more_pods_run_it(whole: Tally, here: Tally, wanted: Verdict) -> None:
    assert verdict_at(Compared(whole=whole, here=here), BY) is wanted
