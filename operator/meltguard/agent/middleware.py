"""Pure ASGI middleware: each request passes the admission before it reaches the image server's app."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from meltguard.agent.admission import Admission
from meltguard.agent.asgi import SEEN, App, Message, Receive, Scope, Send, headers_of, problem
from meltguard.agent.cost import DEFAULT_COST, UNKNOWN_COST, Cost, cost_in_body, cost_in_headers
from meltguard.agent.intake import READ_AHEAD, Intake
from meltguard.agent.outbox import Outbox
from meltguard.agent.quota_desk import Allowance
from meltguard.agent.refusal import Refusal
from meltguard.agent.settings import Callers, Pace
from meltguard.agent.visit import Ask, Result, Visit
from meltguard.api.limit_document import TierLimit
from meltguard.core.units import Seconds, TierName

WAITS: Final = "meltguard.waits"  # in a scope: whom to tell of the place in the line
Fields = Callable[[TierLimit, Allowance | None], dict[str, str]]
LONGEST_KEY: Final = 256
FLUSH_SPANS: Final = 10  # the connection itself ends a client that stops reading; this ends one that only dawdles
OPAQUE_BODIES: Final = ("multipart/", "image/", "application/octet-stream")  # nothing in them tells the cost
OK, REDIRECT = 200, 300


class AdmissionMiddleware:
    """Admits, queues or refuses requests before an app."""

    def __init__(self, app: App, admission: Admission, callers: Callers, pace: Pace) -> None:
        self._app, self._admission, self._callers, self._pace = app, admission, callers, pace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # images over it would pass unguarded
        elif scope["type"] != "http" or scope["path"] in self._callers.open_paths:
            await self._app(scope, receive, send)
        else:
            await self._guard(scope, Intake(receive, scope.get(WAITS)), send)

    async def _guard(self, scope: Scope, intake: Intake, send: Send) -> None:
        try:
            ask = await self._ask(scope, intake)
        except TimeoutError:
            within = f"the body did not come within {self._callers.body_within:.0f} s; send it faster"
            await problem(408, within).send(send)
            return
        except ConnectionError:
            return
        try:
            outcome = await self._admission.admit(ask, intake)
            if SEEN in scope:
                scope[SEEN].update(outcome.facts())
            if isinstance(outcome, Refusal):
                await self._admission.answer(outcome).send(send)
            else:
                await self._serve(outcome, scope, intake, send)
        finally:
            intake.close()

    async def _serve(self, visit: Visit, scope: Scope, intake: Intake, send: Send) -> None:
        """Run the app. The slot is given back when it ends, however it ends; its answer may be read later."""
        outbox = Outbox(send)
        delivery = Delivery(outbox, visit, intake, self._admission.fields)
        if visit.reservation is not None:
            intake.watch(delivery.client_left)
        try:
            async with asyncio.timeout(self._pace.longest_image):
                await self._app(scope, intake.receive, delivery.send)
        except TimeoutError:
            if delivery.status:
                raise  # half an answer cannot be mended: the server closes the connection
            longest = f"the image was not ready within {self._pace.longest_image:.0f} s; try a smaller one"
            await problem(504, longest).send(delivery.send)
        finally:
            self._admission.finish(visit, delivery.result())
            if not delivery.whole:
                outbox.discard()
        await outbox.flush(Seconds(FLUSH_SPANS * self._callers.read_within))

    def owner_of(self, scope: Scope) -> str:
        """Who asks, as far as anyone knows: a user, or else an address."""
        _, user, address = self._caller(scope, headers_of(scope))
        return user or address

    def _caller(self, scope: Scope, headers: Mapping[str, str]) -> tuple[TierName, str, str]:
        """Tier, user and address."""
        callers, address = self._callers, f"address {(scope.get('client') or ('unknown',))[0]}"
        if not callers.trust_gateway:
            return callers.default_tier, address, address
        tier = TierName(headers.get(callers.tier_header) or callers.default_tier)
        return tier, headers.get(callers.user_header, ""), address

    async def _ask(self, scope: Scope, intake: Intake) -> Ask:
        """Who asks for what. Raises as Intake.fill."""
        headers, callers = headers_of(scope), self._callers
        tier, user, address = self._caller(scope, headers)
        cost = cost_in_headers(headers) if callers.trust_gateway else None
        key = headers.get("idempotency-key", "")[:LONGEST_KEY] or None
        await intake.fill(READ_AHEAD, callers.body_within)
        feature = headers.get(callers.feature_header, "")
        cost = cost or self._cost_of_body(headers, intake)
        return Ask(tier=tier, user=user, address=address, cost=cost, key=key, feature=feature)

    def _cost_of_body(self, headers: Mapping[str, str], intake: Intake) -> Cost:
        if headers.get("content-type", "").lower().startswith(OPAQUE_BODIES):
            return DEFAULT_COST
        body = intake.body(self._callers.peek_bytes)
        if body is None:
            return UNKNOWN_COST
        return cost_in_body(body) if body else DEFAULT_COST


class Delivery:
    """Watches an answer on its way to the client."""

    def __init__(self, outbox: Outbox, visit: Visit, intake: Intake, fields: Fields) -> None:
        self._outbox, self._visit, self._intake, self._fields = outbox, visit, intake, fields
        self._body_bytes = 0
        self.whole = False
        self._left_early = False
        self.status = 0

    async def send(self, message: Message) -> None:
        """The app's `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            reservation = self._visit.reservation
            fields = self._fields(self._visit.rule, reservation.allowance if reservation is not None else None)
            if fields:
                pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
                message = {**message, "headers": [*message.get("headers", ()), *pairs]}
        elif message["type"] == "http.response.body":
            if not self._intake.gone:
                self._body_bytes += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        await self._outbox.put(message)

    def client_left(self) -> None:
        """The client left before the app ended."""
        self._left_early = not self.whole

    def result(self) -> Result:
        """What became of the request.

        A client that leaves before the first byte pays nothing. One that leaves after it has had the images made and
        perhaps all but the last byte of them: it pays. An answer that the server broke off costs nothing.
        """
        good = OK <= self.status < REDIRECT
        finished = good and self.whole
        delivered = good and self._body_bytes > 0 if self._left_early else finished
        return Result(status=self.status, finished=finished, delivered=delivered)
