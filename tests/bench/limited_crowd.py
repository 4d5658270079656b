"""Those who ask for the limited tier's images, always more than it may have, now at some agents, now at others."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Final

from bench.limit_pushes import LIMITED
from bench.windows import Entered
from meltguard.agent.agent import Agent
from meltguard.agent.cost import Cost
from meltguard.agent.refusal import Refusal
from meltguard.agent.visit import Ask, Result
from meltguard.clock import SystemClock
from support.agents import Patient

AT_EACH: Final = 4  # requests at once
MOVES_EVERY: Final = 5.0
"""Seconds after which another agent is left alone: its bucket fills up, and its share goes to the others."""

MADE: Final = Result(status=200, finished=True, delivered=True)
RETRY: Final = 0.005
IMAGE_SECONDS: Final = 0.002


class LimitedCrowd:
    """Before agents of this process."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        self._agents, self._clock = agents, SystemClock()
        self._numbers = count()
        self.entered: list[Entered] = []
        self.held_back = 0

    async def run(self) -> None:
        """Ask until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for place in range(len(self._agents)):
                for _ in range(AT_EACH):
                    tasks.create_task(self._ask_on(place))

    async def _ask_on(self, place: int) -> None:
        while True:
            if left_alone(self._clock.elapsed(), len(self._agents)) == place:
                await asyncio.sleep(0.1)
            else:
                await self._ask(self._agents[place])

    async def _ask(self, agent: Agent) -> None:
        number = next(self._numbers)
        cost = Cost(images=1 + (number % 3 == 0), width=512, height=512)
        outcome = await agent.admission.admit(Ask(tier=LIMITED, user=f"user-{number}", cost=cost), Patient())
        if isinstance(outcome, Refusal):
            self.held_back += 1
            await asyncio.sleep(RETRY)
            return
        self.held_back += outcome.waited > 0
        self.entered.append(Entered(at=outcome.since, units=outcome.units))
        await asyncio.sleep(IMAGE_SECONDS)
        agent.admission.finish(outcome, MADE)


def left_alone(at: float, agents: int) -> int:
    """Which agent nobody asks now; none while all are asked, as often as each."""
    return int(at / MOVES_EVERY) % (agents + 1)
