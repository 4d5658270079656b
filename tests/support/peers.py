"""Agents of one service that the operator has introduced to each other, and stand-ins for one of them."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from meltguard.adapters.agent_push import AgentPush, PushTiming
from meltguard.agent.asgi import App
from meltguard.agent.server import ServingAgent, serving
from meltguard.api.peer_pass import PASS_LASTS, PeerPass, sealed
from meltguard.clock import SystemClock
from meltguard.core.grant import Grant
from meltguard.core.units import PodUid, Seconds
from support.agents import KEY, agent_settings
from support.grants import a_grant, a_target, a_tier_grant
from support.loopback import Answers, answering, everywhere

PATIENT = PushTiming(push=Seconds(60.0))
"""Agents take what they are pushed, however slow the machine is."""


def a_pass(**changes: Any) -> PeerPass:
    """Of pod-1's agent on loopback, good for an hour, as the operator's are."""
    fields = {"policy": "serving/image-gen", "pod_uid": "pod-1", "address": "127.0.0.1", "port": 9901}
    return PeerPass(**{**fields, "until": SystemClock().now() + PASS_LASTS, **changes})


def a_pass_text(**changes: Any) -> str:
    """The same, signed by the operator."""
    return sealed(KEY, a_pass(**changes))


def a_wide_grant(pod: str) -> Grant:
    """A lease that lets everything wait."""
    tier = replace(a_tier_grant(), rate=None, max_rate=None, quota=None, queue=50)
    return replace(a_grant(pod), issued_at=SystemClock().now(), tiers=(tier,), features={})


@contextlib.asynccontextmanager
async def peers(image_server: App, count: int = 2, **changes: Any) -> AsyncIterator[list[ServingAgent]]:
    """Agents of pods pod-0, pod-1 and so on, each with a lease from a real push."""
    async with contextlib.AsyncExitStack() as stack:
        push = await stack.enter_async_context(AgentPush(KEY, PATIENT))
        running = []
        for number in range(count):
            settings = replace(agent_settings(**changes), pod_uid=PodUid(f"pod-{number}"))
            agent = await stack.enter_async_context(serving(settings, image_server))
            await push.push(a_target(f"pod-{number}", port=agent.control.port), a_wide_grant(f"pod-{number}"))
            running.append(agent)
        yield running


@contextlib.asynccontextmanager
async def stand_in(answers: Answers) -> AsyncIterator[int]:
    """Whoever answers at an address for which the operator once gave a pass; its port."""
    async with answering(everywhere(answers), handler_cancellation=True) as port:
        yield port


def a_place_at(port: int) -> str:
    """The way to a place that pod-9 gave when it was there."""
    return f"/meltguard/places/pod-9/{a_pass_text(pod_uid='pod-9', port=port)}/abc"
