"""A request's headers, read once for all who look for something in them.

What speaks for us is never a client's word, in any spelling, and always ours where a request goes on.
"""

from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

import msgspec

from meltguard.agent.asgi import Header
from meltguard.agent.caller import Caller
from meltguard.agent.cost import COST_HEADERS
from meltguard.agent.head import CONTENT_TYPE, KEY, LENGTH, PREFER, TRANSFER, Head
from meltguard.agent.settings import Callers

PREFIX: Final = b"x-meltguard-"
CONNECTION: Final = b"connection"
AUTHORIZATION: Final = b"authorization"
ORDINARY: Final = frozenset((b"keep-alive", b"close"))
LOOKED_FOR: Final = frozenset((CONTENT_TYPE, KEY, LENGTH, PREFER, TRANSFER))  # whatever a server makes of capitals
MOST_NAMES: Final = 1_024  # whose folding is remembered
# Servers that hand headers on as variables read `X_Meltguard_User` and `X.Meltguard.User` as X-Meltguard-User.
FOLDED: Final = bytes(byte if chr(byte).isalnum() and byte < 128 else ord("-") for byte in range(256))  # noqa: PLR2004 - ASCII


def folded(name: bytes) -> bytes:
    """A header's name as the most forgiving server reads it.

    >>> folded(b"X_Meltguard.User ")
    b'x-meltguard-user'
    """
    return name.strip().lower().translate(FOLDED)


class Use(Enum):
    """What becomes of a header."""

    PASSED = auto()  # it is no word of ours
    KEPT = auto()  # anyone, or the gateway, may say it, in its own spelling and once
    MENDED = auto()  # it says which headers end here
    DROPPED = auto()


PASSED, KEPT, MENDED, DROPPED = Use  # read for every header of every request: an enum's attributes take their time


class Meaning(msgspec.Struct, frozen=True):
    """What a name of a header, in one spelling, means here."""

    use: Use
    said_as: bytes  # the name under which someone looks for it; b"" where nobody does


class OwnHeaders:
    """Takes what a client says in our name out of a request, and puts in what we know."""

    def __init__(self, callers: Callers) -> None:
        self._tier, self._user = callers.tier_header.encode("latin-1"), callers.user_header.encode("latin-1")
        told = (name.encode() for name in COST_HEADERS) if callers.trust_gateway else ()
        self._kept = (callers.feature_header.encode("latin-1"), *told)  # in their own spelling, once
        dropped = (AUTHORIZATION,) if callers.tokens is not None and not callers.tokens.passed_on else ()
        self._names = frozenset(folded(name) for name in (self._tier, self._user, *self._kept, *dropped))
        self._exact = frozenset((self._tier, self._user, *self._kept))
        self._meanings: dict[bytes, Meaning] = {}

    def read(self, headers: Iterable[Header]) -> Head:
        """What they say, and those that go on: without what speaks for us."""
        passed: list[Header] = []
        said: dict[bytes, bytes] = {}
        twice: set[bytes] = set()
        meanings = self._meanings
        for header in headers:
            meaning = meanings.get(header[0]) or self._meaning_of(header[0])
            name = meaning.said_as
            if name in said:
                twice.add(name)
            if name:
                said[name] = header[1]
            if meaning.use is PASSED:
                passed.append(header)
            elif meaning.use is MENDED:
                passed.append((header[0], self._unnamed(header[1])))
        return self._head(passed, said, twice)

    def _head(self, passed: list[Header], said: dict[bytes, bytes], twice: set[bytes]) -> Head:
        for name in twice:
            del said[name]
        if not said.keys().isdisjoint(self._kept):
            passed += [(name, said[name]) for name in self._kept if name in said]
        return Head(passed, said, twice)

    def handed_on(self, head: Head, caller: Caller) -> list[Header]:
        """The headers that go on, with the caller's tier, and the user if one is known."""
        named = [(self._tier, caller.tier.encode("latin-1", "replace"))]
        if caller.user and caller.user != caller.address:
            named.append((self._user, caller.user.encode("latin-1", "replace")))
        return head.passed + named

    def _meaning_of(self, name: bytes) -> Meaning:
        meaning = Meaning(self._use_of(name), self._said_as(name))
        if len(self._meanings) >= MOST_NAMES:
            self._meanings.clear()  # a client that sends ever new names makes us fold them, not grow
        self._meanings[name] = meaning
        return meaning

    def _use_of(self, name: bytes) -> Use:
        told = folded(name)
        if told.startswith(PREFIX) or told in self._names:
            return KEPT if name in self._kept else DROPPED
        return MENDED if name == CONNECTION else PASSED

    def _said_as(self, name: bytes) -> bytes:
        if name in self._exact:
            return name
        lowered = name.lower()
        return lowered if lowered in LOOKED_FOR else b""

    def _unnamed(self, options: bytes) -> bytes:
        """A Connection header that does not have a proxy drop what we say."""
        if options.lower() in ORDINARY:
            return options
        said = options.split(b",")
        return b",".join(each for each in said if self._use_of(each.strip().lower()) in {PASSED, MENDED})
