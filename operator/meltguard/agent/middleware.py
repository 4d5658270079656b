"""Pure ASGI middleware: each request passes the admission before it reaches the image server's app."""

from collections.abc import Awaitable, Iterable
from typing import Final

from meltguard.agent.admission import Admission
from meltguard.agent.asgi import SEEN, Answer, App, Header, Message, Receive, Scope, Send, problem
from meltguard.agent.asking import Asking
from meltguard.agent.bounded import Rest, TooLong, first_step, within
from meltguard.agent.clients import Trouble
from meltguard.agent.intake import CROWDED, READ_AHEAD, Crowded, Intake
from meltguard.agent.load import ORCA_HEADER
from meltguard.agent.outbox import Outbox, taken
from meltguard.agent.quota_allowance import Allowance
from meltguard.agent.refusal import Refusal
from meltguard.agent.settings import Callers, Pace
from meltguard.agent.visit import Result, Visit
from meltguard.agent.websockets import WebSockets
from meltguard.core.units import Seconds

WAITS: Final = "meltguard.waits"  # in a scope: whom to tell of the place in the line
FLUSH_SPANS: Final = 10  # the connection itself ends a client that stops reading; this ends one that only dawdles
OK, REDIRECT = 200, 300
KINDS: Final = frozenset(("http", "websocket"))
DIGITS: Final = 7


class AdmissionMiddleware:
    """Admits, queues or refuses requests before an app."""

    def __init__(self, app: App, admission: Admission, callers: Callers, pace: Pace) -> None:
        self._app, self._admission, self._callers, self._pace = app, admission, callers, pace
        self._made_header = callers.made_header.encode("latin-1")
        self._asking = Asking(callers)
        self._flush_within = Seconds(FLUSH_SPANS * callers.read_within)
        self._sockets = WebSockets(app, admission, self._asking, pace.longest_image)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one connection scope."""
        if scope["type"] not in KINDS or scope["path"] in self._callers.open_paths:
            return self._app(scope, receive, send)
        if scope["type"] == "websocket":
            return self._sockets(scope, receive, send)
        return self._guard(scope, Intake(receive, scope.get(WAITS), self._admission.clients.held), send)

    async def _guard(self, scope: Scope, intake: Intake, send: Send) -> None:
        try:
            if not intake.fill_at_once():
                await intake.fill(READ_AHEAD, self._callers.body_within)
        except (TimeoutError, ConnectionError, Crowded) as exc:
            intake.close()
            await self._not_whole(exc, send)
            return
        try:
            ask = self._asking.of(scope, intake)
            outcome = self._admission.enter_at_once(ask, intake) or await self._admission.admit(ask, intake)
            if isinstance(outcome, Refusal):
                _note(scope, outcome)
                await self._admission.telling.answer(outcome).send(send, self._admission.telling.load_headers())
            else:
                await self._serve(outcome, scope, intake, send)
        finally:
            intake.close()

    async def _serve(self, visit: Visit, scope: Scope, intake: Intake, send: Send) -> None:
        """Run the app. The slot is given back when it ends, however it ends; its answer may be read later."""
        outbox = Outbox(send, self._admission.clients.held)
        delivery = Delivery(outbox, visit, intake, self._made_header, self._admission)
        if visit.reservation is not None:
            intake.watch(delivery.client_left)
        try:
            _note(scope, visit)
            outbox.hold()
            rest = first_step(self._app(scope, intake.receive, delivery.send))
            if rest is not None:
                outbox.release()
                await within(rest, self._pace.longest_image)
            if intake.late and not delivery.status:
                await self._too_slow().send(delivery.send)
        except TooLong:
            if delivery.status:
                raise  # half an answer cannot be mended: the server closes the connection
            longest = f"the image was not ready within {self._pace.longest_image:.0f} s; try a smaller one"
            await problem(504, longest).send(delivery.send)
        finally:
            self._admission.finish(visit, delivery.result())
            unsent = delivery.ended()
        if unsent is not None:
            try:
                await taken(unsent, self._flush_within)
            finally:
                outbox.discard()

    async def _not_whole(self, why: Exception, send: Send) -> None:
        if isinstance(why, ConnectionError):
            return
        answer = CROWDED if isinstance(why, Crowded) else self._too_slow()
        await answer.send(send, self._admission.telling.load_headers())

    def _too_slow(self) -> Answer:
        self._admission.clients.troubles[Trouble.LATE_BODY] += 1
        return problem(408, f"the body did not come within {self._callers.body_within:.0f} s; send it faster")


def _note(scope: Scope, outcome: Visit | Refusal) -> None:
    """Tell the access log what was found out."""
    if SEEN in scope:
        scope[SEEN].update(outcome.facts())


class Delivery:
    """Watches an answer on its way to the client."""

    def __init__(self, outbox: Outbox, visit: Visit, intake: Intake, made_header: bytes, admission: Admission) -> None:
        self._outbox, self._visit, self._intake = outbox, visit, intake
        self._made_header, self._admission = made_header, admission
        self._made: int | None = None
        self._body_bytes = 0
        self.whole = False
        self._left_early = False
        self.status = 0

    async def send(self, message: Message) -> None:
        """The app's `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [header for header in message.get("headers", ()) if header[0].lower() != ORCA_HEADER]
            told = self._admission.telling.headers(self._visit, self._allowance(own))
            message = {**message, "headers": [*own, *told]}
        elif message["type"] == "http.response.body":
            if not self._intake.gone:
                if not self._body_bytes and self._visit.reservation is not None and message.get("body"):
                    self._begins()
                self._body_bytes += len(message.get("body", b""))
            self.whole = not message.get("more_body", False)
        if self._outbox.full:
            await self._outbox.room()
        self._outbox.put(message)

    def _begins(self) -> None:
        """The first byte goes out: from now on the client pays, also if this process ends before it has told so."""
        if OK <= self.status < REDIRECT and self._made != 0:
            self._admission.delivers(self._visit, self._made)

    def _allowance(self, given: list[Header]) -> Allowance | None:
        """What the user has left after this answer; None where no allowance was drawn."""
        reservation = self._visit.reservation
        if reservation is None:
            return None
        self._made = made_of(given, self._made_header)
        if reservation.allowance is None:
            return None
        asked = self._visit.images
        kept = asked if self._made is None else self._made
        return reservation.allowance.refunded(asked - kept if OK <= self.status < REDIRECT else asked)

    def ended(self) -> Rest[None] | None:
        """The app has ended: a whole answer is sent, and what is left to wait for; of half a one no more."""
        if self.whole:
            return self._outbox.flush_at_once()
        self._outbox.discard()
        return None

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
        return Result(status=self.status, finished=finished, delivered=delivered and self._made != 0, images=self._made)


def made_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> int | None:
    """How many images an answer says were made; None where it says nothing that can be read.

    >>> made_of([(b"X-Meltguard-Delivered-Images", b"2")], b"x-meltguard-delivered-images")
    2
    """
    told = [value for key, value in headers if key.lower() == name]
    return int(told[0]) if len(told) == 1 and told[0].isdigit() and len(told[0]) <= DIGITS else None
