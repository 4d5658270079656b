from meltguard.agent.fair_bucket import MOST_REMEMBERED, RecentUse
from meltguard.core.units import Seconds, Units

ONE = Units(1.0)
START = Seconds(0.0)


def test_who_had_most_is_ahead_once_another_has_asked() -> None:
    use = RecentUse(START)
    for _ in range(3):
        use.drew("heavy", ONE, START)
    assert not use.ahead("heavy", START)
    assert not use.ahead("ann", START)
    assert use.ahead("heavy", START)


def test_what_was_drawn_fades_for_all_alike_however_long_it_goes_on() -> None:
    use = RecentUse(START)
    for minute in range(200):
        at = Seconds(60.0 * minute)
        use.drew("heavy", ONE, at)
        use.drew("heavy", ONE, at)
        use.drew("ann", ONE, at)
        assert not use.ahead("ann", at)
        assert use.ahead("heavy", at)


def test_an_old_use_counts_less_than_a_new_one() -> None:
    use = RecentUse(START)
    use.drew("early", Units(2.0), START)
    use.drew("late", ONE, Seconds(60.0))
    assert not use.ahead("early", Seconds(60.0))
    assert use.ahead("late", Seconds(60.0))


def test_so_many_users_are_remembered_at_most() -> None:
    use = RecentUse(START)
    use.drew("first", ONE, START)
    for number in range(MOST_REMEMBERED):
        use.drew(f"user-{number}", ONE, START)
    assert not use.ahead("first", START)
    assert use.ahead(f"user-{MOST_REMEMBERED - 1}", START)
