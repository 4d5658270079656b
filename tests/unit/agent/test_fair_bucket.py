import pytest

from meltguard.agent.fair_bucket import LIGHT, MOST_REMEMBERED, RecentUse
from meltguard.core.units import Seconds, Units

ONE = Units(1.0)
START = Seconds(0.0)


def test_who_had_most_leaves_all_to_others_once_another_has_asked() -> None:
    use = RecentUse(START)
    for _ in range(3):
        use.drew("heavy", ONE, START)
    assert use.leaves("heavy", START) == 0.0
    assert use.leaves("ann", START) == 0.0
    assert use.leaves("heavy", START) == 1.0


@pytest.mark.parametrize(("had", "leaves"), [(10.0, 1.0), (6.5, 0.5), (10.0 * LIGHT, 0.0), (1.0, 0.0)])
def test_the_nearer_to_the_heaviest_the_more_is_left(had: float, leaves: float) -> None:
    use = RecentUse(START)
    use.drew("heavy", Units(10.0), START)
    use.drew("ann", Units(had), START)
    use.leaves("heavy", START)
    assert use.leaves("ann", START) == pytest.approx(leaves)


def test_what_was_drawn_fades_for_all_alike_however_long_it_goes_on() -> None:
    use = RecentUse(START)
    for minute in range(200):
        at = Seconds(60.0 * minute)
        for _ in range(4):
            use.drew("heavy", ONE, at)
        use.drew("ann", ONE, at)
        assert use.leaves("ann", at) == 0.0
        assert use.leaves("heavy", at) == 1.0


def test_an_old_use_counts_less_than_a_new_one() -> None:
    use = RecentUse(START)
    use.drew("early", Units(2.0), START)
    use.drew("late", ONE, Seconds(60.0))
    early, late = use.leaves("early", Seconds(60.0)), use.leaves("late", Seconds(60.0))
    assert early < late == 1.0


def test_so_many_users_are_remembered_at_most() -> None:
    use = RecentUse(START)
    use.drew("first", ONE, START)
    for number in range(MOST_REMEMBERED):
        use.drew(f"user-{number}", ONE, START)
    assert use.leaves("first", START) == 0.0
    assert use.leaves(f"user-{MOST_REMEMBERED - 1}", START) == 1.0
