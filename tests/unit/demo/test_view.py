from io import StringIO

from rich.console import Console

from meltguard.api.levels import LevelName
from meltguard.api.policy_status import LimitStatus, PolicyStatus
from meltguard.core.policy import TierState
from meltguard.core.units import Seconds
from meltguard.demo.tail import TierNow
from meltguard.demo.view import PlainView, plain_line, screen, view_on
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
NOTHING = Picture(nodes=(), policy=PolicyStatus(), tiers=())


def test_one_line_says_level_heat_limits_waits_loans_and_why() -> None:
    line = plain_line("borrowed", Seconds(42.0), PICTURE)

    for said in (
        "42.0 s",
        "Overloaded",
        "1.31",
        "81 C",
        "free=Reject:6.2/s",
        "31/32",
        "2.1s",
        "gpu-05:Lent",
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
    assert "level ?" in plain_line("quiet", Seconds(-1.0), NOTHING)
    Console(file=StringIO()).print(screen("quiet", Seconds(-1.0), NOTHING))


def test_plain_lines_come_every_three_seconds_and_at_each_new_phase() -> None:
    out = StringIO()
    view = PlainView(out)
    for elapsed in range(7):
        view.show("surge", Seconds(elapsed), PICTURE)
    view.show("limited", Seconds(7.0), PICTURE)
    view.close()

    assert len(out.getvalue().splitlines()) == 4


def test_without_a_terminal_the_view_is_plain() -> None:
    assert isinstance(view_on(StringIO(), headless=False), PlainView)
