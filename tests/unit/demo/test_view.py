from dataclasses import replace
from io import StringIO

from rich.console import Console

from meltguard.api.levels import LevelName
from meltguard.api.policy_status import (
    ActiveOverride,
    FeatureStatus,
    HistoryEntry,
    LimitStatus,
    PolicyStatus,
    RolloutStatus,
)
from meltguard.clock import rfc3339
from meltguard.core.policy import TierState
from meltguard.core.rollout_state import RolloutState
from meltguard.core.units import Instant, Seconds
from meltguard.demo.tail import TierNow
from meltguard.demo.view import LiveView, News, PlainView, plain_line, screen, view_on
from meltguard.demo.watch import NodeNow, Picture

PICTURE = Picture(
    nodes=(
        NodeNow(
            name="gpu-05",
            pool="inference",
            home="research",
            step="Lent",
            cordoned=False,
            serving=7,
            starting=1,
            other=0,
            hottest=81.4,
            busy=97.0,
        ),
    ),
    policy=PolicyStatus(
        level=LevelName.OVERLOADED,
        pressure="1.31",
        acknowledged="31/32",
        why="free gives way: demand is more than the GPUs can do",
        limits=(LimitStatus(tier="free", state=TierState.REJECT, rate="6.2/s", demand="14/s"),),
    ),
    tiers=(
        TierNow(
            tier="free", admitted=6.0, refused=8.0, reason="over-rate", wait_p50=Seconds(0.4), wait_p99=Seconds(2.1)
        ),
    ),
)
START = Instant(1000.0)
DECIDED = PolicyStatus(
    level=LevelName.OVERLOADED,
    features=(FeatureStatus(name="image-edit", rollout="10%", cause="level Overloaded"),),
    rollouts=RolloutStatus(state=RolloutState.HELD),
    overrides=(ActiveOverride(sets="free: Suspend", until="1970-01-01T00:30:00Z", reason="keynote", by="ann"),),
    history=(
        HistoryEntry(at=rfc3339(Instant(1012.0)), reason="TierLimited", text="tier free: Reject at 6/m"),
        HistoryEntry(at=rfc3339(Instant(1009.0)), reason="LevelChanged", text="Normal to Elevated: wait 2 s"),
    ),
)
MEASURES = ("image-edit 10%", "updates Held", "override free: Suspend until 00:30:00Z by ann")
NOTHING = Picture(nodes=(), policy=PolicyStatus(), tiers=())


def test_one_line_says_level_heat_limits_waits_loans_and_why() -> None:
    line = plain_line("borrowed", Seconds(42.0), PICTURE)

    for said in (
        "42.0 s",
        "Overloaded",
        "1.31",
        "81 C",
        "free Reject 6.2/s",
        "31/32",
        "free 2.1 s",
        "gpu-05 Lent",
        "gives way",
    ):
        assert said in line


def test_the_screen_says_the_same() -> None:
    out = StringIO()
    Console(file=out, width=160, force_terminal=False).print(screen("borrowed", Seconds(42.0), PICTURE))

    for said in (
        "Overloaded",
        "1.31",
        "81 C",
        "6.2/s",
        "31/32",
        "2.10 s",
        "over-rate",
        "Lent",
        "7 pods, 1 loading",
        "gives way",
    ):
        assert said in out.getvalue()


def test_what_is_not_known_is_a_question_mark_and_no_crash() -> None:
    assert "level ?, pressure ?" in plain_line("quiet", Seconds(-1.0), NOTHING)
    Console(file=StringIO()).print(screen("quiet", Seconds(-1.0), NOTHING))


def test_plain_lines_come_every_three_seconds_and_at_each_new_phase() -> None:
    out = StringIO()
    view = PlainView(out, START)
    for elapsed in range(7):
        view.show("surge", Seconds(elapsed), PICTURE)
    view.show("limited", Seconds(7.0), PICTURE)
    view.close()

    assert sum(line.startswith("[") for line in out.getvalue().splitlines()) == 4
    assert out.getvalue().count("what a person types") == 1


def test_without_a_terminal_the_view_is_plain() -> None:
    assert isinstance(view_on(StringIO(), START, headless=False), PlainView)


def test_features_updates_and_a_persons_word_are_told_beside_the_limits() -> None:
    picture = replace(PICTURE, policy=DECIDED)
    out = StringIO()
    Console(file=out, width=160, force_terminal=False).print(screen("limited", Seconds(12.0), picture))

    for said in MEASURES:
        assert said in plain_line("limited", Seconds(12.0), picture)
        assert said in out.getvalue()


def test_each_decision_is_told_once_when_it_comes_the_oldest_first() -> None:
    news = News(START)

    assert news.look(PolicyStatus(history=DECIDED.history[1:])) == [
        "     9 s  LevelChanged: Normal to Elevated: wait 2 s"
    ]
    assert news.look(DECIDED) == ["    12 s  TierLimited: tier free: Reject at 6/m"]
    assert news.look(DECIDED) == []
    assert len(news.told) == 2


def test_plain_lines_tell_a_decision_at_once() -> None:
    out = StringIO()
    view = PlainView(out, START)
    view.show("surge", Seconds(8.0), PICTURE)
    view.show("surge", Seconds(9.0), replace(PICTURE, policy=DECIDED))

    assert [line for line in out.getvalue().splitlines() if line.startswith("  > ")] == [
        "  >      9 s  LevelChanged: Normal to Elevated: wait 2 s",
        "  >     12 s  TierLimited: tier free: Reject at 6/m",
    ]


def test_the_live_picture_has_a_running_list_of_decisions_and_what_people_type_stays() -> None:
    out = StringIO()
    view = LiveView(Console(file=out, width=160, force_terminal=True), START)
    view.show("surge", Seconds(12.0), replace(PICTURE, policy=DECIDED))
    view.say("$ kubectl get isp [x]")
    view.show("surge", Seconds(13.0), PICTURE)
    view.close()

    assert "decided lately" in out.getvalue()
    assert "$ kubectl get isp [x]" in out.getvalue()
    assert "TierLimited: tier free: Reject at 6/m" in out.getvalue().split("$ kubectl")[1]
