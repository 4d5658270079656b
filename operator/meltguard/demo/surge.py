"""Runs the surge and watches until every node is home."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from meltguard.clock import SystemClock
from meltguard.core.rollout_state import RolloutState
from meltguard.core.units import Instant, Seconds
from meltguard.demo.processes import Child
from meltguard.demo.scene import GPUS_A_NODE, INFERENCE_NODES
from meltguard.demo.view import View
from meltguard.demo.watch import Picture, Watch

LOOK_EVERY: Final = Seconds(1.0)
HOME_WITHIN: Final = Seconds(150.0)
"""After the last request: a node's serving pods may take their time to leave."""

OVERDUE: Final = Seconds(120.0)
"""What the last request may take after it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who takes part."""

    watch: Watch
    view: View
    users: Child
    hosts: Child
    album: list[tuple[Seconds, Picture]] = field(default_factory=list)  # every picture, with when it was taken


async def play(cast: Cast, surge_at: Instant, length: Seconds) -> None:
    """Show the run until the users are done and everything is as it was, or time is up.

    Raises:
        Unavailable: the users' or the hosts' process died.
    """
    clock = SystemClock()
    done_by = surge_at + length + OVERDUE + HOME_WITHIN
    async with aiohttp.ClientSession() as session:
        while clock.now() < done_by:
            cast.users.check()
            cast.hosts.check()
            picture = await cast.watch.picture(session)
            elapsed = Seconds(clock.now() - surge_at)
            cast.album.append((elapsed, picture))
            cast.view.show(phase(picture, elapsed, sending=cast.users.running), elapsed, picture)
            if not cast.users.running and at_rest(picture):
                return
            await asyncio.sleep(LOOK_EVERY)  # the cadence of pictures


def phase(picture: Picture, elapsed: Seconds, *, sending: bool) -> str:
    """Where in the story the run is, in a word or two.

    The first rule that holds names it.
    """
    rules: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: elapsed < 0, "quiet"),
        (lambda: any(node.step in {"Recalled", "Restored", "Home"} for node in picture.nodes), "giving back"),
        (lambda: any(node.step in {"Claimed", "Cordoned", "Relabelled"} for node in picture.nodes), "borrowing"),
        (lambda: _limited(picture), "limited"),
        (lambda: picture.loans > 0, "borrowed"),
        (lambda: sending, "surge"),
    )
    return next((word for holds, word in rules if holds()), "settling")


def _limited(picture: Picture) -> bool:
    return any(limit.state != "Open" for limit in picture.policy.limits)


def at_rest(picture: Picture) -> bool:
    """Whether no node is lent and the service is as large as it was."""
    serving = sum(node.serving for node in picture.nodes)
    leaving = any(node.starting for node in picture.nodes)
    updates = picture.policy.rollouts
    free = updates is None or updates.state is RolloutState.FREE
    told = not picture.policy.loan_count  # the operator has said so too
    return picture.loans == 0 and told and free and serving == INFERENCE_NODES * GPUS_A_NODE and not leaving
