"""What a decision costs inside a Python process: ours and other limiters, in interleaved rounds of CPU time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Any, Final

import limits
import throttled
from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from meltguard.agent.admission import Admission
from meltguard.agent.agent import Agent
from meltguard.agent.asgi import App, Message, Receive, Scope, Send
from meltguard.agent.cost import DEFAULT_COST
from meltguard.agent.refusal import Refusal
from meltguard.agent.server import guarding
from meltguard.agent.visit import Ask, Result
from meltguard.api.limit_document import TierLimit, TierState
from meltguard.clock import SystemClock
from meltguard.core.features import has_feature
from meltguard.core.units import Gpus, Percent, TierName
from support.agents import Patient, a_lease, agent_settings, signed

USERS: Final = 10_000
PLENTY: Final = 1e9  # requests that a limit bears: what is measured is the decision to let one in
TIERS: Final = ("free", "plus", "pro", "default")
FEATURE: Final = "edit"
HALF: Final = 50  # per cent of users have it: whether one does is looked up by a hash
OPEN_TO_ALL: Final = 100
DONE: Final = Result(status=200, finished=True, delivered=True)
BODY: Final = b'{"n": 1}'

Loop = Callable[[int], Awaitable[None]]
"""Decides so many times."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    rounds: Sequence[float]

    @property
    def median(self) -> float:
        """What is told."""
        return median(self.rounds)

    @property
    def least(self) -> float:
        """Of the round that others disturbed least."""
        return min(self.rounds)

    @property
    def most(self) -> float:
        """Of the round that others disturbed most."""
        return max(self.rounds)

    def beyond(self, other: "Spread") -> "Spread":
        """What it adds to the other, round by round: they were interleaved."""
        return Spread([ours - theirs for ours, theirs in zip(self.rounds, other.rounds, strict=True)])

    @property
    def per_second(self) -> "Spread":
        """Of microseconds an operation: operations a second on one core."""
        return Spread([1e6 / one for one in self.rounds])


class Cost(Spread):
    """CPU microseconds an operation."""

    __slots__ = ()

    @property
    def rate(self) -> float:
        """Operations a second on one core."""
        return 1e6 / self.median


class NobodyLeaves(Patient):
    """A caller whose client stays."""

    def done(self) -> bool:
        """Its requests give their slots back."""
        return False


async def interleaved(loops: Mapping[str, Loop], rounds: int, times: int) -> dict[str, Cost]:
    """Every loop in turn, round by round, so that what else the machine does falls on all."""
    spent: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            began = time.process_time()
            await loop(times)
            spent[name].append((time.process_time() - began) / times * 1e6)
    return {name: Cost(all_) for name, all_ in spent.items()}


def callers(seed: int = 1) -> Sequence[tuple[str, str]]:
    """(tier, user) of requests; a few users ask for most, as in the recorded traces."""
    chance = Random(seed)  # noqa: S311 - a simulation
    return [
        (TIERS[number % len(TIERS)], f"user-{min(USERS, int(chance.paretovariate(0.8)))}") for number in range(USERS)
    ]


def an_agent(feature: int = HALF) -> Agent:
    """An agent that obeys a lease: every tier with a rate and a maximum of its own, one feature at half."""
    tiers = [
        TierLimit(name=name, priority=place, state=TierState.DELAY, rate=PLENTY, burst=PLENTY, max_rate=PLENTY, queue=9)
        for place, name in enumerate(TIERS)
    ]
    agent = Agent(agent_settings(gpus=Gpus(8)), SystemClock(), None)
    agent.obey(signed(a_lease(*tiers, features={FEATURE: feature})))
    return agent


def decisions() -> dict[str, Loop]:
    """One decision each: ours on tier, user, feature, concurrency, line, rates; the others' on one bucket."""
    asked = callers()
    return {
        "meltguard": _ours(an_agent().admission, asked),
        "meltguard, feature open to all": _ours(an_agent(OPEN_TO_ALL).admission, asked),
        "meltguard refusing": _ours_refusing(asked),
        "a dict's counter": _dict(asked),
        "limits fixed window": _limits(limits.strategies.FixedWindowRateLimiter, asked),
        "limits moving window": _limits(limits.strategies.MovingWindowRateLimiter, asked),
        "limits sliding counter": _limits(limits.strategies.SlidingWindowCounterRateLimiter, asked),
        "throttled-py gcra": _throttled("gcra", asked),
        "throttled-py token bucket": _throttled("token_bucket", asked),
    }


def _ours(admission: Admission, asked: Sequence[tuple[str, str]]) -> Loop:
    having = [(tier, user) for tier, user in asked if has_feature(FEATURE, user, Percent(HALF))]
    asks = [Ask(tier=TierName(tier), user=user, cost=DEFAULT_COST, feature=FEATURE) for tier, user in having]
    known, caller = len(asks), NobodyLeaves()

    async def loop(times: int) -> None:
        for number in range(times):
            ask = asks[number % known]
            visit = admission.enter_at_once(ask, caller) or await admission.admit(ask, caller)
            if isinstance(visit, Refusal):
                raise TypeError(f"refused: {visit}; the bench measures admissions")
            admission.finish(visit, DONE)

    return loop


def _ours_refusing(asked: Sequence[tuple[str, str]]) -> Loop:
    agent = an_agent()
    suspended = [TierLimit(name=name, state=TierState.SUSPEND) for name in TIERS]
    agent.obey(signed(a_lease(*suspended, revision=2)))
    asks = [Ask(tier=TierName(tier), user=user, cost=DEFAULT_COST) for tier, user in asked]
    caller = NobodyLeaves()

    async def loop(times: int) -> None:
        for number in range(times):
            refusal = await agent.admission.admit(asks[number % USERS], caller)
            if not isinstance(refusal, Refusal):
                raise TypeError("admitted; the bench measures refusals")

    return loop


def _dict(asked: Sequence[tuple[str, str]]) -> Loop:
    counts: dict[str, int] = {}

    async def loop(times: int) -> None:
        for number in range(times):
            user = asked[number % USERS][1]
            counts[user] = counts.get(user, 0) + 1

    return loop


def _limits(strategy: type[Any], asked: Sequence[tuple[str, str]]) -> Loop:
    limiter = strategy(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerMinute(int(PLENTY))

    async def loop(times: int) -> None:
        for number in range(times):
            limiter.hit(item, asked[number % USERS][1])

    return loop


def _throttled(using: str, asked: Sequence[tuple[str, str]]) -> Loop:
    quota = throttled.per_min(int(PLENTY))
    limiter = throttled.Throttled(using=using, quota=quota, store=throttled.MemoryStore())

    async def loop(times: int) -> None:
        for number in range(times):
            limiter.limit(asked[number % USERS][1])

    return loop


async def bare(_scope: Scope, receive: Receive, send: Send) -> None:
    """The smallest server: reads the request, answers a few bytes."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


def middlewares() -> dict[str, Loop]:
    """One whole ASGI call each, with and without a limiter before the same app; ours with all that an agent stacks."""
    return {
        "bare app": _calls(bare),
        "bare app + meltguard": _calls(guarding(an_agent(), bare, AsyncExitStack(), SystemClock())),
        "starlette": _calls(starlette(limited=False)),
        "starlette + slowapi": _calls(starlette(limited=True)),
    }


def starlette(*, limited: bool) -> App:
    async def image(_request: Any) -> Response:
        return Response(b"{}")

    app = Starlette(routes=[Route("/v1/images/generations", image, methods=["GET", "POST"])])
    if limited:
        app.state.limiter = Limiter(
            key_func=lambda request: request.headers["x-meltguard-user"], default_limits=["1000000000/minute"]
        )
        app.add_middleware(SlowAPIASGIMiddleware)
    return app


def _calls(app: App) -> Loop:
    scopes = [_scope(tier, user) for tier, user in callers()[:1_000]]

    async def loop(times: int) -> None:
        for number in range(times):
            if number % 100 == 0:
                await asyncio.sleep(0)  # the loop has work of its own
            exchange = Exchange()
            await app(dict(scopes[number % 1_000]), exchange.receive, exchange.send)
            if exchange.status != 200:
                raise ValueError(f"answered {exchange.status}; the bench measures admissions")

    return loop


class Exchange:
    """One request, whole, from a client that stays."""

    def __init__(self) -> None:
        self._asked = False
        self.status = 0

    async def receive(self) -> Message:
        """The body once, then nothing more for ever."""
        if self._asked:
            await asyncio.get_running_loop().create_future()
        self._asked = True
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(self, message: Message) -> None:
        """Note the status."""
        self.status = message.get("status", self.status)


def _scope(tier: str, user: str) -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/images/generations",
        "raw_path": b"/v1/images/generations",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 50_000),
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(BODY)).encode()),
            (b"x-meltguard-tier", tier.encode()),
            (b"x-meltguard-user", user.encode()),
        ],
    }
