"""Refusals on their way through proxies that cannot hear them."""

import pytest

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import Answer, Message, Receive, Scope, Send, problem
from meltguard.agent.decisions import Decisions
from meltguard.agent.door import AUTH_REQUEST, FORWARD_AUTH, Door, lowered, must_be_closed, packed, unpacked
from meltguard.agent.settings import DecisionBounds
from meltguard.clock import SystemClock
from meltguard.errors import InvalidInput
from support.agents import agent_settings

REFUSED = problem(429, "slowly, \u00e4 while", reason="over-rate")


def test_what_was_packed_is_unpacked() -> None:
    carried = packed(REFUSED)
    assert (carried.status, carried.body) == (403, b"")
    assert unpacked(carried.headers["x-meltguard-refusal"]) == REFUSED


@pytest.mark.parametrize("carried", ["", "e30=", "!", "WzEsMl0=", "bnVsbA=="])
def test_a_refusal_that_was_lost_is_a_refusal_all_the_same(carried: str) -> None:
    assert unpacked(carried).status == 503


@pytest.mark.parametrize(("status", "told"), [(503, 453), (429, 429), (413, 413), (500, 453)])
def test_no_refusal_looks_like_our_failure(status: int, told: int) -> None:
    assert lowered(problem(status, "no")).status == told


def test_only_a_closed_door_opens() -> None:
    must_be_closed("127.0.0.1", DecisionBounds())
    must_be_closed("0.0.0.0", DecisionBounds(secret="word"))  # noqa: S106 - a test's
    with pytest.raises(InvalidInput, match="MELTGUARD_PROXY_SECRET"):
        must_be_closed("10.0.0.7", DecisionBounds())


@pytest.mark.parametrize("path", [AUTH_REQUEST, FORWARD_AUTH])
async def test_a_proxys_question_is_about_the_requests_own_query(path: str) -> None:
    """What it costs may stand there."""
    about: list[Scope] = []

    async def inside(scope: Scope, _receive: Receive, send: Send) -> None:
        about.append(scope)
        await Answer(status=200, body=b"").send(send)

    async def unused() -> Message:
        return {"type": "http.disconnect"}

    async def told(_message: Message) -> None:
        return

    settings = agent_settings()
    decisions = Decisions(Agent(settings, SystemClock(), None).admission, settings)
    headers = [(b"x-forwarded-uri", b"/i?n=10&size=1x1"), (b"x-forwarded-method", b"GET")]
    asked = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"n=1",
        "headers": headers,
        "client": ("", 0),
    }
    await Door(inside, decisions, settings.decisions)(asked, unused, told)
    assert [about[0][name] for name in ("path", "query_string", "method")] == ["/i", b"n=10&size=1x1", "GET"]
