"""The headers that speak for us: never a client's word in any spelling, always ours where a request goes on."""

from collections import Counter
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

from meltguard.agent.asgi import Header
from meltguard.agent.caller import Caller
from meltguard.agent.cost import COST_HEADERS
from meltguard.agent.settings import Callers

PREFIX: Final = b"x-meltguard-"
CONNECTION: Final = b"connection"
AUTHORIZATION: Final = b"authorization"
ORDINARY: Final = frozenset((b"keep-alive", b"close"))
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


class OwnHeaders:
    """Takes what a client says in our name out of a request, and puts in what we know."""

    def __init__(self, callers: Callers) -> None:
        self._tier, self._user = callers.tier_header.encode("latin-1"), callers.user_header.encode("latin-1")
        self._feature = callers.feature_header.encode("latin-1")
        told = (name.encode() for name in COST_HEADERS) if callers.trust_gateway else ()
        self._kept = frozenset((self._feature, *told))  # in their own spelling, once
        dropped = (AUTHORIZATION,) if callers.tokens is not None and not callers.tokens.passed_on else ()
        self._names = frozenset(folded(name) for name in (self._tier, self._user, *self._kept, *dropped))
        self._uses: dict[bytes, Use] = {}

    def without(self, headers: Iterable[Header]) -> list[Header]:
        """A request's headers without those that speak for us."""
        uses, rest, kept = self._uses, [], []
        for header in headers:
            use = uses.get(header[0]) or self._use_of(header[0])
            if use is PASSED:
                rest.append(header)
            elif use is KEPT:
                kept.append(header)
            elif use is MENDED:
                rest.append((header[0], self._unnamed(header[1])))
        if len(kept) > 1:
            times = Counter(name for name, _ in kept)  # what came twice counts for nobody: nobody knows who said which
            kept = [header for header in kept if times[header[0]] == 1]
        return rest + kept if kept else rest

    def of(self, headers: Iterable[Header], caller: Caller) -> list[Header]:
        """The same with the caller's tier, and the user if one is known."""
        found = self.without(headers)
        found.append((self._tier, caller.tier.encode("latin-1", "replace")))
        if caller.user and caller.user != caller.address:
            found.append((self._user, caller.user.encode("latin-1", "replace")))
        return found

    def _use_of(self, name: bytes) -> Use:
        told = folded(name)
        if told.startswith(PREFIX) or told in self._names:
            use = KEPT if name in self._kept else DROPPED
        else:
            use = MENDED if name == CONNECTION else PASSED
        if len(self._uses) >= MOST_NAMES:
            self._uses.clear()  # a client that sends ever new names makes us fold them, not grow
        self._uses[name] = use
        return use

    def _unnamed(self, options: bytes) -> bytes:
        """A Connection header that does not have a proxy drop what we say."""
        if options.lower() in ORDINARY:
            return options
        said = options.split(b",")
        return b",".join(each for each in said if self._use_of(each.strip().lower()) in {PASSED, MENDED})
