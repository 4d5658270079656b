"""Who calls: found out once for each request, whatever way it comes in."""

from collections.abc import Awaitable
from typing import Final, Protocol

import msgspec

from meltguard.agent.asgi import Answer, Scope
from meltguard.agent.head import HEAD, Head
from meltguard.agent.settings import Callers
from meltguard.core.units import TierName

CALLER: Final = "meltguard.caller"  # in a scope: its Caller


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request."""

    tier: TierName  # perhaps one that the document does not know
    user: str  # "" where a gateway named none
    address: str = ""  # where the request came from: whose turn it is where no user is known

    @property
    def owner(self) -> str:
        """Who it is, as far as anyone knows: a user, or else an address."""
        return self.user or self.address


Found = Caller | Answer  # who calls, or the answer to who is not served


class Identify(Protocol):
    """Finds out who calls."""

    def __call__(self, scope: Scope) -> "Found | Awaitable[Found]":
        """Who sent the request of an http or websocket scope; to be awaited only where somebody must be asked."""
        ...


class Strangers:
    """Everyone is unknown: the declared tier, and each address a user of its own."""

    def __init__(self, callers: Callers) -> None:
        self._tier = callers.default_tier

    def __call__(self, scope: Scope) -> Caller:
        """The caller of this address."""
        return stranger(scope, self._tier)


class GatewaysWord:
    """A gateway before us names tier and user, and lets nobody else name them."""

    def __init__(self, callers: Callers) -> None:
        self._default_tier = callers.default_tier
        self._tier, self._user = callers.tier_header.encode("latin-1"), callers.user_header.encode("latin-1")

    def __call__(self, scope: Scope) -> Caller:
        """The caller that the headers name; a header that came twice names nobody."""
        head: Head = scope[HEAD]
        tier = head.text(self._tier)
        return Caller(TierName(tier) if tier else self._default_tier, head.text(self._user), address_of(scope))


def identify_of(callers: Callers) -> Identify:
    """How callers are told apart where no tokens are read."""
    return GatewaysWord(callers) if callers.trust_gateway else Strangers(callers)


def stranger(scope: Scope, tier: TierName) -> Caller:
    """Who is not known but by an address."""
    address = address_of(scope)
    return Caller(tier, address, address)


def address_of(scope: Scope) -> str:
    """Where a request came from."""
    return f"address {(scope.get('client') or ('unknown',))[0]}"
