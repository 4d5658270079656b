"""LimitSink over HTTP: signed limits out to each serving pod's agent, counters back, over connections kept open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
from pydantic import ValidationError
from yarl import URL

from meltguard.api.agent_report import AgentReport
from meltguard.api.grants import counters_of, document_of
from meltguard.api.peer_pass import PASS_LASTS, PeerPass, sealed
from meltguard.api.signed import SigningKey
from meltguard.core.grant import Grant, GrantKind
from meltguard.core.load import AgentCounters
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Target

AT_ONCE_PUSHES: Final = 512
"""Pushes under way at once: so many hanging pods it takes before others wait for the push limit."""

LARGEST_REPORT: Final = 1_048_576
KEEP_OPEN: Final = 75.0
"""Seconds for which an idle connection stays open: pods are pushed and read at least every few seconds."""

REFUSED: Final = frozenset({400, 401, 403, 409, 413, 422})
"""The agent understood and says no; sending the same again gets the same answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTiming:
    """How long an agent may take."""

    push: Seconds = Seconds(2.0)
    hold: Seconds = Seconds(10.0)  # how long the agent may hold a report back while nothing happens
    slack: Seconds = Seconds(2.0)  # beyond the hold, before we give up


USUAL: Final = PushTiming()


class Problem(msgspec.Struct, frozen=True):
    """A refusal's problem details."""

    detail: str = ""
    title: str = ""


class AgentPush:
    """The agents of all serving pods. Needs a running loop; close it."""

    def __init__(self, key: SigningKey, timing: PushTiming = USUAL) -> None:
        self._key = key
        self._timing = timing
        self._pushing = asyncio.Semaphore(AT_ONCE_PUSHES)
        # aiohttp sets TCP_NODELAY itself. No limit: each followed pod holds one connection with its report.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_OPEN)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def push(self, target: Target, grant: Grant) -> AgentCounters:
        """Hand a pod its limits; the answer says what it now enforces.

        Raises:
            Unavailable: no answer within 2 s, or not from this pod's agent.
            InvalidInput: the agent refused the document; the text says why.
        """
        document = document_of(grant).model_copy(update={"peer_pass": self._pass(target, grant)})
        envelope = self._key.sign(document).model_dump_json(by_alias=True).encode()
        url = _url(target, "/v1/limits")
        limits = aiohttp.ClientTimeout(total=self._timing.push)
        headers = {"Content-Type": "application/json"}
        async with (
            self._pushing,
            _failures(target, self._timing.push),
            self._session.put(url, data=envelope, headers=headers, timeout=limits) as response,
        ):
            return await _read(target, response)

    async def read(self, target: Target, after: int) -> AgentCounters:
        """The agent's counters; it may hold the answer until its sequence exceeds `after`, not if that is negative.

        Raises as `push`.
        """
        hold = self._timing.hold if after >= 0 else 0.0
        url = _url(target, "/v1/report").with_query({"after": max(0, after), "wait": f"{hold:g}"})
        patience = hold + self._timing.slack
        limits = aiohttp.ClientTimeout(total=patience)
        async with _failures(target, patience), self._session.get(url, timeout=limits) as response:
            return await _read(target, response)

    def _pass(self, target: Target, grant: Grant) -> str:
        """What the pod shows the others of its service; none where the policy lets it go."""
        if grant.kind is GrantKind.RELEASED:
            return ""
        one = PeerPass(
            policy=f"{grant.namespace}/{grant.policy}",
            pod_uid=target.pod,
            address=target.address,
            port=target.port,
            until=grant.issued_at + PASS_LASTS,
        )
        return sealed(self._key, one)


def _url(target: Target, path: str) -> URL:
    return URL.build(scheme="http", host=target.address, port=target.port, path=path)


@asynccontextmanager
async def _failures(target: Target, patience: float) -> AsyncIterator[None]:
    """No client error gets past here."""
    try:
        yield
    except TimeoutError as exc:
        raise Unavailable(f"the agent of {target.name} gave no answer within {patience:g} s") from exc
    except aiohttp.ClientError as exc:
        raise Unavailable(f"the agent of {target.name} cannot be reached: {exc}") from exc


async def _read(target: Target, response: aiohttp.ClientResponse) -> AgentCounters:
    body = await _bounded(target, response)
    if response.status in REFUSED:
        raise InvalidInput(f"the agent of {target.name} refuses: {_words(body) or f'HTTP {response.status}'}")
    if not response.ok:
        raise Unavailable(f"the agent of {target.name} answers HTTP {response.status}: {_words(body)}")
    try:
        report = AgentReport.model_validate_json(body)
    except ValidationError as exc:
        first = exc.errors(include_input=False)[0]
        raise Unavailable(
            f"{target.address}:{target.port} does not answer as an agent ({first['msg']}); "
            f"is spec.service.agentPort right for {target.name}?"
        ) from exc
    if report.pod_uid != target.pod:
        raise Unavailable(f"{target.address} is no longer {target.name}: pod {report.pod_uid} answers there")
    return counters_of(report)


async def _bounded(target: Target, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_REPORT:
            raise Unavailable(f"the agent of {target.name} answers more than {LARGEST_REPORT} bytes; is it an agent?")
    return bytes(body)


def _words(body: bytes) -> str:
    """What a refusal says, where it is problem details; its first line where not."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        return body[:200].decode(errors="replace").partition("\n")[0]
    return problem.detail or problem.title
