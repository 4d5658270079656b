from io import StringIO

from rich.console import Console

from meltguard.core.units import Seconds
from meltguard.rehearse.progress import watched
from support.fakes import FakeClock


def shown(*took: float, is_terminal: bool = False) -> str:
    """What is shown while a rehearsal of 100 s takes so many seconds from look to look."""
    clock, stream = FakeClock(), StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=80)
    with watched(console, clock, ("policy.yaml", Seconds(100.0))) as progress:
        for number, seconds in enumerate(took, 1):
            clock.advance(seconds)
            progress(Seconds(10.0 * number))
    return stream.getvalue()


def test_what_is_done_at_once_shows_nothing() -> None:
    assert shown(0.5, 0.5, 0.5) == ""
    assert shown(0.5, 0.5, 0.5, is_terminal=True) == ""


def test_a_log_gets_a_line_every_ten_seconds() -> None:
    assert shown(5.0, 5.0, 5.0, 5.0) == "policy.yaml: 20% of 0.0 h\npolicy.yaml: 40% of 0.0 h\n"


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    assert "rehearsing policy.yaml" in shown(2.5, 1.0, is_terminal=True)
