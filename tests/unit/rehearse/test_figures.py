from meltguard.rehearse.figures import figures_of
from meltguard.rehearse.rehearsal import Rehearsal


def test_a_rehearsal_in_numbers(surged: Rehearsal) -> None:
    figures = figures_of(surged)
    free, pro = figures.tiers
    assert (free.tier, pro.tier) == ("free", "pro")
    assert free.shed_share > 0.1
    assert pro.shed_share < 0.01
    assert pro.p99 < free.p99
    assert free.asked == surged.ledger.tiers["free"].offered
    assert figures.first_loan is not None
    assert figures.first_lent is not None
    assert figures.first_loan < figures.first_lent
    assert (figures.loans, figures.most_lent, figures.not_home) == (2, 2, 0)
    assert figures.borrowed == surged.borrowed > 0
    assert figures.worst_level == "Critical"
