"""Answers a proxy that asks before it lets a request through (docs/ways-in.md)."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from meltguard.agent.admission import Admission
from meltguard.agent.asgi import SEEN, Answer, Receive, Scope, Send, problem
from meltguard.agent.asking import Asking
from meltguard.agent.caller import CALLER, Caller
from meltguard.agent.clients import Trouble
from meltguard.agent.cost import DEFAULT_COST, Cost
from meltguard.agent.grants import NOT_SENT, Grant, Grants
from meltguard.agent.intake import CROWDED, Crowded, Intake
from meltguard.agent.refusal import Refusal
from meltguard.agent.settings import AgentSettings
from meltguard.agent.visit import Result
from meltguard.core.units import Seconds

GRANT_HEADER: Final = "x-meltguard-grant"
WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})
OK, REDIRECT = 200, 300
MOST_READ: Final = 65_536  # of a body that the proxy sends along


class Decisions:
    """An ASGI app: 200 lets the request of the scope through, anything else is the client's answer."""

    def __init__(self, admission: Admission, settings: AgentSettings) -> None:
        self._admission, self._callers = admission, settings.callers
        self._asking = Asking(settings.callers)
        self.grants = Grants(admission, Seconds(min(settings.decisions.held_within, settings.pace.longest_image)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Decide on one request."""
        if scope["type"] != "http":
            return
        if scope["path"] in self._callers.open_paths:
            await Answer(status=200, body=b"").send(send)
            return
        intake = Intake(receive, held=self._admission.clients.held)
        try:
            if not intake.fill_at_once():
                await intake.fill(MOST_READ, self._callers.body_within)
            await (await self._decide(scope, intake)).send(send, self._admission.telling.load_headers())
        except TimeoutError:
            self._admission.clients.troubles[Trouble.LATE_BODY] += 1
            await problem(408, "the proxy did not send the request's body in time").send(send)
        except ConnectionError:
            return  # the proxy left
        except Crowded:
            await CROWDED.send(send)
        finally:
            intake.close()

    async def _decide(self, scope: Scope, intake: Intake) -> Answer:
        outcome = await self.grants.ask(self._asking.of(scope, intake, self._unread(scope)), intake)
        if isinstance(outcome, Refusal):
            if SEEN in scope:
                scope[SEEN].update(outcome.facts())
            return self._admission.telling.answer(outcome)
        if SEEN in scope:
            scope[SEEN].update(outcome.visit.facts())
        if intake.gone:
            self.grants.end(outcome.id, NOT_SENT)
            raise ConnectionError("the proxy left before it heard the decision")
        return Answer(status=200, body=b"", headers=self._granted(outcome, scope[CALLER]))

    def _granted(self, grant: Grant, caller: Caller) -> Mapping[str, str]:
        """What the proxy hands on: to the image server who calls and the grant, to the client what is left."""
        visit, own = grant.visit, self._callers
        allowance = visit.reservation.allowance if visit.reservation is not None else None
        user = "" if caller.user == caller.address else caller.user
        named = {own.tier_header: str(visit.tier), own.user_header: user, GRANT_HEADER: grant.id}
        return {**named, **self._admission.telling.fields(visit.rule, allowance)}

    def _unread(self, scope: Scope) -> Cost:
        """What a request costs whose body the proxy keeps to itself."""
        if scope["method"] in WITHOUT_BODY:
            return DEFAULT_COST
        return self._asking.unseen

    def ended(self, grant_id: str, query: bytes) -> Answer:
        """A proxy or an image server tells that a request has ended: `?status=200&images=2`."""
        told = parse_qs(query.decode("latin-1"))
        status, images = _whole(told, "status"), _whole(told, "images")
        if status is None:
            return problem(400, "tell how it ended: ?status=200, and &images=N where fewer were made than asked for")
        good = OK <= status < REDIRECT
        result = Result(status=status, finished=good, delivered=good and images != 0, images=images)
        if not self.grants.end(grant_id, result):
            return problem(404, "no request of this grant runs: it was told before, or held as long as may be")
        return Answer(status=204, body=b"")

    async def close(self) -> None:
        """End what runs."""
        self.grants.close()


def _whole(told: Mapping[str, list[str]], name: str) -> int | None:
    text = told.get(name, [""])[-1]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len("1000000") else None
