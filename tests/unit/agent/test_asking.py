"""What a request is taken to ask for."""

from meltguard.agent.asking import LONGEST_KEY, Asking
from meltguard.agent.caller import CALLER, Caller
from meltguard.agent.head import HEAD, KEY, Head
from meltguard.agent.settings import Callers
from meltguard.core.units import TierName


def key_of(key: str) -> str | None:
    head = Head([], {KEY: key.encode()}, set())
    scope = {HEAD: head, CALLER: Caller(TierName("free"), "ann")}
    return Asking(Callers()).of(scope, None).key


def test_a_long_key_is_shortened_and_no_two_become_one() -> None:
    keys = ["k" * LONGEST_KEY, "k" * LONGEST_KEY + "a", "k" * LONGEST_KEY + "b"]
    told = [key_of(key) for key in keys]
    assert len(set(told)) == len(keys)
    assert told[0] == keys[0]
    assert all(key is not None and len(key) <= LONGEST_KEY for key in told)
    assert key_of("") is None
