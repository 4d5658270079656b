"""The agent's control interface: limits in, report and metrics out."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from meltguard.agent.agent import Agent
from meltguard.agent.asgi import Answer, Receive, Scope, Send, headers_of, problem
from meltguard.agent.clients import Trouble
from meltguard.agent.documents import DocumentRefused
from meltguard.agent.intake import Intake
from meltguard.agent.metrics import registry_of
from meltguard.agent.place_paths import AMONG_AGENTS
from meltguard.agent.place_questions import PlaceQuestions
from meltguard.api.agent_report import AgentReport
from meltguard.api.limit_document import MAX_DOCUMENT_BYTES
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput

LONGEST_POLL: Final = 10.0
STUCK_AFTER: Final = Seconds(10.0)

Handler = Callable[[Scope, Receive], Awaitable[Answer]]


class ControlApp:
    """PUT /v1/limits, GET /v1/report, /v1/load, /healthz, /metrics; and other agents' questions about places."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._registry, self._questions = registry_of(agent), PlaceQuestions(agent)
        self._routes: dict[str, tuple[str, Handler]] = {
            "/v1/limits": ("PUT", self._limits),
            "/v1/report": ("GET", self._report),
            "/v1/load": ("GET", self._load),
            "/healthz": ("GET", self._healthz),
            "/metrics": ("GET", self._metrics),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"].startswith(AMONG_AGENTS):
            await self._questions(scope, receive, send)
        else:
            await (await self._answer(scope, receive)).send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, handler = self._routes.get(scope["path"], ("", None))
        if handler is None:
            return problem(404, f"there is no such path; these are: {', '.join(self._routes)}")
        if scope["method"] != method:
            return problem(405, f"{scope['path']} takes {method}")
        try:
            return await handler(scope, receive)
        except DocumentRefused as exc:
            return problem(exc.status, str(exc), field=exc.name, value=str(exc.value), fix=exc.fix)
        except InvalidInput as exc:
            return problem(400, str(exc))

    async def _limits(self, scope: Scope, receive: Receive) -> Answer:
        """Take a document."""
        headers = headers_of(scope)
        if headers.get("content-encoding", "identity") != "identity":
            return problem(415, "a document is sent as it is, without content-encoding")
        announced = headers.get("content-length", "")
        within = self._agent.settings.callers.body_within
        intake = Intake(receive)
        too_large = announced.isdigit() and int(announced) > MAX_DOCUMENT_BYTES
        try:
            if not too_large:
                await intake.fill(MAX_DOCUMENT_BYTES, within)
        except TimeoutError:
            self._agent.admission.clients.troubles[Trouble.LATE_BODY] += 1
            return problem(408, f"the document did not come within {within:.0f} s; send it faster")
        except ConnectionError:
            return problem(400, "the document was broken off; send it again")
        raw = intake.body(MAX_DOCUMENT_BYTES)
        if raw is None:
            return problem(413, f"the document is larger than {MAX_DOCUMENT_BYTES} bytes; name fewer tiers")
        return _told(self._agent.obey(raw))

    async def _report(self, scope: Scope, _receive: Receive) -> Answer:
        """Answer with the report, at once or when there is something new."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        after = _number(query, "after", math.inf)
        if after < math.inf:
            wait = min(LONGEST_POLL, _number(query, "wait", LONGEST_POLL))
            await self._agent.news.beyond(int(after), Seconds(wait))
        return _told(self._agent.report())

    async def _load(self, _scope: Scope, _receive: Receive) -> Answer:
        await asyncio.sleep(0)
        return Answer(status=200, body=self._agent.admission.telling.load_json())

    async def _healthz(self, _scope: Scope, _receive: Receive) -> Answer:
        await asyncio.sleep(0)
        stuck = self._agent.stuck_for
        if stuck > STUCK_AFTER:
            return problem(503, f"the agent's background work is {stuck:.0f} s late; restart it and read its log")
        return Answer(status=200, body=b'{"status":"ok"}')

    async def _metrics(self, _scope: Scope, _receive: Receive) -> Answer:
        await asyncio.sleep(0)
        return Answer(status=200, body=generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)


def _told(report: AgentReport) -> Answer:
    return Answer(status=200, body=report.model_dump_json(by_alias=True).encode())


def _number(query: dict[str, list[str]], name: str, default: float) -> float:
    text = query.get(name, [""])[-1]
    if not text:
        return default
    try:
        number = float(text)
    except ValueError as exc:
        raise InvalidInput(f"{name} is {text!r}: write a number") from exc
    if not 0 <= number < math.inf:
        raise InvalidInput(f"{name} is {text!r}: write a number from 0 up")
    return number
