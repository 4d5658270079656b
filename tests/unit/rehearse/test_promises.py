from pathlib import Path

import pytest

from meltguard.errors import InvalidInput
from meltguard.rehearse.figures import Figures, TierFigures
from meltguard.rehearse.promises import read_promise
from support.objects import edited
from support.rehearsals import POLICY, some_manifests

FIGURES = Figures(
    tiers=(
        TierFigures(tier="free", asked=100, served=60, shed=40, shed_share=0.4, images=120, p50=3.0, p99=20.0),
        TierFigures(tier="pro", asked=10, served=10, shed=0, shed_share=0.0, images=20, p50=0.0, p99=2.0),
    ),
    first_limit=90.0,
    first_loan=None,
    first_lent=None,
    loans=0,
    most_lent=0,
    not_home=0,
    borrowed=0.0,
    work_lost=1.5,
    broken_off=1,
    turns=2,
    worst_level="Overloaded",
)

CASES = {
    "pro.p99>2": "",
    "pro.p99>=2": "pro.p99>=2: it is 2",
    "paid.p99>1.5s": "paid.p99>1.5s: it is 2",
    "free.shed>50%": "",
    "free.shed>0.3": "free.shed>0.3: it is 0.4",
    "free.served<61": "free.served<61: it is 60",
    "lost>1": "lost>1: it is 1.5",
    "firstLimit<2m": "firstLimit<2m: it is 90",
    "firstLimit<1m30s": "",
    "firstLoan>1h": "firstLoan>1h: it is never",
    "firstLoan<1h": "",
    "turns > 2": "",
}


@pytest.mark.parametrize(("text", "said"), CASES.items(), ids=CASES)
def test_what_happened_is_held_against_the_limit(tmp_path: Path, text: str, said: str) -> None:
    assert read_promise(text, some_manifests(tmp_path).policy.policy).broken(FIGURES) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pro.p99", "is no limit; write TIER"),
        ("pro.p99>1d", "is no limit; write TIER"),
        ("pro.p98>1", "there is no figure 'p98' here"),
        ("p99>1", "there is no figure 'p99' here"),
        ("gold.p99>1", "has no tier 'gold'; it has free, pro"),
        ("free.shed>50", "write it as 5% or 0.05"),
    ],
)
def test_a_wrong_limit_says_what_can_be_written(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_promise(text, some_manifests(tmp_path).policy.policy)


def test_a_tier_that_is_called_paid_is_that_tier(tmp_path: Path) -> None:
    policy = some_manifests(tmp_path, policy=edited(POLICY, {"spec.tiers.0.name": "paid"})).policy.policy
    assert read_promise("paid.p99>1", policy).tiers == ("paid",)
