"""A value works its index out once, and makes nobody who asks another value wait."""

import threading
from dataclasses import dataclass, field

from meltguard.core.once import once


@dataclass(frozen=True)
class Slow:
    """Its index is worked out once it may go on."""

    goes_on: threading.Event
    begun: threading.Event = field(default_factory=threading.Event)
    times: list[int] = field(default_factory=list)

    @once
    def index(self) -> int:
        """Of whatever."""
        self.times.append(1)
        self.begun.set()
        assert self.goes_on.wait(30.0)
        return 7


def test_it_is_worked_out_once() -> None:
    goes_on = threading.Event()
    goes_on.set()
    value = Slow(goes_on)
    assert (value.index, value.index, value.times) == (7, 7, [1])


def test_who_asks_another_value_does_not_wait() -> None:
    held, free = Slow(threading.Event()), Slow(threading.Event())
    free.goes_on.set()
    thread = threading.Thread(target=lambda: held.index)
    thread.start()
    assert held.begun.wait(30.0)
    assert free.index == 7
    assert thread.is_alive(), "the first is still at work"
    held.goes_on.set()
    thread.join()


def test_its_class_shows_what_it_is() -> None:
    assert Slow.index.__doc__ == "Of whatever."
