"""What a request asks for, as its headers and its body say."""

from typing import Final

from meltguard.agent.asgi import Scope
from meltguard.agent.caller import CALLER, Caller
from meltguard.agent.cost import COST_HEADERS, DEFAULT_COST, UNKNOWN_COST, Cost, cost_in_headers, cost_of
from meltguard.agent.head import CONTENT_TYPE, HEAD, KEY, Head
from meltguard.agent.intake import Intake
from meltguard.agent.quota_store import hashed
from meltguard.agent.settings import Callers
from meltguard.agent.visit import Ask
from meltguard.agent.wanted import wanted_in

LONGEST_KEY: Final = 256


class Asking:
    """Reads requests."""

    def __init__(self, callers: Callers) -> None:
        self._peek_bytes = callers.peek_bytes
        self._feature = callers.feature_header.encode("latin-1")
        self._paths = callers.feature_paths or None
        assumed = callers.assumed_images
        self.unseen = UNKNOWN_COST if assumed is None else Cost(images=assumed)  # of a body that is not read whole
        self._costs = {name.encode(): name for name in COST_HEADERS} if callers.trust_gateway else {}

    def of(self, scope: Scope, intake: Intake | None, unread: Cost = DEFAULT_COST) -> Ask:
        """Who asks for what. `unread` is the cost where there is no body to read.

        Without an intake there is no body at all, and what is asked for is not known (a WebSocket).
        """
        head: Head = scope[HEAD]
        caller: Caller = scope[CALLER]
        cost = self._cost_in_headers(head)
        if cost is None:
            cost = UNKNOWN_COST if intake is None else self._cost_of_body(scope, intake, unread)
        key = head.text(KEY) or None
        if key is not None and len(key) > LONGEST_KEY:
            key = hashed(key)  # cut off, two keys could be one
        by_path = None if self._paths is None else self._paths.of(scope["path"])
        return Ask(caller.tier, caller.user, cost, caller.address, key, by_path or head.text(self._feature))

    def _cost_in_headers(self, head: Head) -> Cost | None:
        """What the gateway says, if it is to be believed."""
        if self._costs.keys().isdisjoint(head.said):
            return None
        return cost_in_headers({name: head.text(raw) for raw, name in self._costs.items() if raw in head.said})

    def _cost_of_body(self, scope: Scope, intake: Intake, unread: Cost) -> Cost:
        head: Head = scope[HEAD]
        body, query = intake.body(self._peek_bytes), scope.get("query_string", b"")
        if body is None or CONTENT_TYPE in head.twice:
            return self.unseen
        if not body and unread is not DEFAULT_COST:
            return unread
        return cost_of(wanted_in(body, head.text(CONTENT_TYPE), query))
