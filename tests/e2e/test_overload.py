"""A real overload before a whole operator: what it leaves undone while metrics cannot be trusted, and in Shadow."""

import asyncio
import json
import re
from pathlib import Path
from typing import Final

import pytest

from faults import world
from faults.evidence import Deed, read_deeds
from faults.promises import IDENTITY
from meltguard.clock import SystemClock, rfc3339
from meltguard.localcluster.plane import Plane
from support.overload import Overload, an_overload, until

pytestmark = pytest.mark.plane
ADMIN = "meltguard-local-admin"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path


TROUBLES = {
    "unreachable": "check",
    "empty": "check",
    "NaN": "check",
    "stale": "check",
}


async def test_metrics_that_cannot_be_trusted_move_nothing(lone_plane: Plane, directory: Path) -> None:
    async with an_overload(lone_plane, directory) as overload:
        overload.source.mood = "unreachable"
        await overload.apply()
        await until(overload.limited, 60.0)
        for mood, step in TROUBLES.items():
            overload.source.mood = mood
            before = await overload.limit()
            await overload.decided_again(1)
            known = await overload.condition("MetricsAvailable")
            assert known["status"] == "False", mood
            assert step in known["message"], known["message"]
            await until(overload.is_blocked, 20.0)
            blocked = await overload.condition("BorrowingBlocked")
            assert "utilization is unknown" in blocked["message"]
            assert await overload.claims() == [], mood
            after = await overload.limit()
            assert before is not None
            assert after is not None, f"{mood}: the limit was lifted"
            assert after <= 1.1 * before, mood
        overload.source.mood = "well"
        await until(overload.claims, 30.0)
        await tells_what_happens(overload)
        await overload.end()


DESCRIBED: Final = (
    r"^  Why: +\w+: (demand|wait) ",
    r"^  Level Lifts When: +pressure below ",
    r"^    Message: +\d nodes? claimed, \d open$",
    r"^    Message: +free: Delay, demand ",
    r"^    Cause: +.*(demand|wait).*\d",
    r"^    Lifts When: +\S",
    r"^    Promised Return: +20\d\d-",
    r"^    Why: +\d+ GPUs? (is|are) missing for a demand of ",
    r"^    Next Change: +\S",
)
UNREADABLE: Final = r"\bNone\b|(?<!of )\b1 (nodes|pods|loans|GPUs)\b|\b0 more\b|\bnan\b|\binf\b|<unknown>"

MEMORY: Final = r"(?m)^  Memory: .*"
"""The one line that is not for people."""


async def tells_what_happens(overload: Overload) -> None:
    """`kubectl get` and `kubectl describe`: what a person reads who knows nothing else."""

    async def lends() -> bool:
        return bool((await overload.status()).get("loans"))

    await until(lends, 20.0)
    name = ("isp", "image-gen", "-n", world.SERVING)
    head, line = (await overload.ground.admin.kubectl("get", *name)).splitlines()
    assert head.split()[-2:] == ["WHY", "AGE"]
    described = await overload.ground.admin.kubectl("describe", *name)
    read = described[described.index("\nStatus:") :]
    missing = [pattern for pattern in DESCRIBED if re.search(pattern, read, re.MULTILINE) is None]
    assert missing == [], f"{line}\n{read}"
    assert re.findall(UNREADABLE, re.sub(MEMORY, "", read)) == [], read


def written(plane: Plane, offset: int) -> list[Deed]:
    return [deed for deed in read_deeds(plane.audit_log, offset) if deed.user == IDENTITY]


async def test_shadow_shows_the_plan_with_its_victims_and_writes_nothing_else(
    lone_plane: Plane, directory: Path
) -> None:
    async with an_overload(lone_plane, directory) as overload:
        offset = lone_plane.audit_log.stat().st_size
        await overload.apply("Shadow")

        async def planned() -> bool:
            rules = (await overload.status()).get("decision", {}).get("rules", [])
            told = next((one["text"] for one in rules if one["rule"] == "mode allows moves"), "")
            return "Job research/train-research-" in told

        await until(planned, 60.0)
        await overload.decided_again(2)
        deeds = await asyncio.to_thread(written, lone_plane, offset)
        about = {(deed.ref.resource, deed.ref.subresource) for deed in deeds if deed.ref.namespace != world.OPERATORS}
        assert ("imageservicepolicies", "status") in about
        assert about <= {
            ("imageservicepolicies", "status"),
            ("imageservicepolicies", ""),  # the finalizer and Kopf's annotation
            ("gpupools", "status"),
            ("gpupools", ""),
        }
        assert await overload.claims() == []
        await overload.end()


def in_seconds(seconds: float) -> str:
    """A moment, as people write it in an override."""
    return rfc3339(SystemClock().now() + seconds)


async def test_an_override_shows_holds_and_ends_by_itself(lone_plane: Plane, directory: Path) -> None:
    async with an_overload(lone_plane, directory) as overload:
        await overload.apply()
        await until(overload.status, 60.0)
        overload.ebb()
        override = {"tier": "free", "state": "Suspend", "reason": "launch day", "by": ADMIN}
        await overload.apply(overrides=[{**override, "until": in_seconds(600.0)}])

        async def state() -> str:
            limits = (await overload.status()).get("limits", [])
            return next((one["state"] for one in limits if one["tier"] == "free"), "")

        async def suspended() -> bool:
            return await state() == "Suspend"

        async def open_again() -> bool:
            return await state() == "Open"

        await until(suspended, 12.0)
        assert "launch day" in json.dumps((await overload.status()).get("overrides"))
        await overload.apply(overrides=[{**override, "until": in_seconds(5.0)}])
        await until(open_again, 30.0)
        await overload.end()


WORDS = {
    "Open": ({"tier": "free", "state": "Open"}, "Open", "none"),
    "a limit": ({"tier": "free", "limit": "30/m"}, "Delay", "30/m"),
    "a level": ({"level": "Normal"}, "Open", "none"),
}


async def test_a_persons_word_about_a_surging_tier_is_what_its_pods_enforce(lone_plane: Plane, directory: Path) -> None:
    """Each over the law's own limit, in turn; and the law limits again when it is taken away."""
    async with an_overload(lone_plane, directory) as overload:
        for word, state, rate in WORDS.values():
            await overload.apply()
            await until(overload.limited, 60.0)
            ends = in_seconds(600.0)
            await overload.apply(overrides=[{**word, "until": ends, "reason": "keynote"}])
            await until(lambda state=state, rate=rate: _shows(overload, state, rate), 30.0)  # type: ignore[misc] # bound now
            if rate != "none":
                limit = await _free(overload)
                assert (limit["until"], limit["cause"]) == (ends, "override: keynote")
                assert limit["liftsWhen"] == f"the override ends at {ends}"
            await until(lambda state=state, rate=rate: _enforced(overload, state, rate), 30.0)  # type: ignore[misc] # bound now
        await overload.end()


async def _free(overload: Overload) -> dict[str, str]:
    limits = (await overload.status()).get("limits", [])
    return next((one for one in limits if one["tier"] == "free"), {})


async def _shows(overload: Overload, state: str, rate: str) -> bool:
    found = await _free(overload)
    return (found.get("state"), found.get("rate")) == (state, rate)


async def _enforced(overload: Overload, state: str, rate: str) -> bool:
    """By the documents that its agents took."""
    await asyncio.sleep(0)
    rules = overload.ground.agents.rules("free")
    told = None if rate == "none" else pytest.approx(float(rate.removesuffix("/m")) / 60.0)
    whole = None if any(rule.rate is None for rule in rules) else sum(rule.rate or 0.0 for rule in rules)
    return {rule.state for rule in rules} == {state} and whole == told
