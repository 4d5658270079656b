"""What a request asks for, as its headers and its body say."""

from collections.abc import Mapping
from typing import Final

from meltguard.agent.asgi import Scope, headers_of
from meltguard.agent.caller import CALLER, Caller
from meltguard.agent.cost import COST_HEADERS, DEFAULT_COST, UNKNOWN_COST, Cost, cost_in_body, cost_in_headers
from meltguard.agent.intake import Intake
from meltguard.agent.settings import Callers
from meltguard.agent.visit import Ask

KEY_HEADER: Final = "idempotency-key"
TYPE_HEADER: Final = "content-type"
LONGEST_KEY: Final = 256
OPAQUE_BODIES: Final = ("multipart/", "image/", "application/octet-stream")  # nothing in them tells the cost


class Asking:
    """Reads requests."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self._read = frozenset(
            name.lower().encode() for name in (callers.feature_header, *COST_HEADERS, KEY_HEADER, TYPE_HEADER)
        )

    def of(self, scope: Scope, intake: Intake | None, unread: Cost | None = None) -> Ask:
        """Who asks for what. `unread` is the cost where there is no body to read; None: one image of the usual size.

        Without an intake there is no body at all, and what is asked for is not known (a WebSocket).
        """
        headers, callers = headers_of(scope, self._read), self._callers
        caller: Caller = scope[CALLER]
        cost = cost_in_headers(headers) if callers.trust_gateway else None
        key = headers.get(KEY_HEADER, "")[:LONGEST_KEY] or None
        feature = headers.get(callers.feature_header, "")
        cost = cost or (self._cost_of_body(headers, intake, unread or DEFAULT_COST) if intake else UNKNOWN_COST)
        return Ask(tier=caller.tier, user=caller.user, address=caller.address, cost=cost, key=key, feature=feature)

    def _cost_of_body(self, headers: Mapping[str, str], intake: Intake, unread: Cost) -> Cost:
        body = intake.body(self._callers.peek_bytes)
        if body == b"" or headers.get(TYPE_HEADER, "").lower().startswith(OPAQUE_BODIES):
            return unread
        return UNKNOWN_COST if body is None else cost_in_body(body)
