"""Callers known by signed tokens, over real sockets: an issuer whose keys change, and clients who would be others."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Seconds
from support.agents import look
from support.eventually import eventually, until
from support.issuer import a_key, a_token, key_set
from support.token_ground import Ground, ground

OLD, NEW, FORGED = a_key("old"), a_key("new"), a_key("old")


async def test_tier_and_user_are_the_tokens_and_go_on_to_the_server() -> None:
    async with ground(OLD) as held:
        assert (await held.ask(a_token(OLD))).status == 200
        assert held.mirror.said("x-meltguard-tier", "x-meltguard-user", "authorization") == [
            ("x-meltguard-tier", "plus"),
            ("x-meltguard-user", "ann"),
        ]
        assert await held.metric('meltguard_agent_admitted_total{tier="plus"}') == 1.0
        assert await held.metric('meltguard_agent_tokens_total{outcome="verified"}') == 1.0


SMUGGLED = {
    "as it is": ("X-Meltguard-Tier: plus", "X-Meltguard-User: root"),
    "underscores": ("X_Meltguard_Tier: plus", "x_meltguard_user: root"),
    "mixed": ("x-MELTGUARD_tier: plus", "X-meltguard_USER: root"),
    "dots": ("x.meltguard.tier: plus", "x.meltguard.user: root"),
    "twice": ("X-Meltguard-Tier: plus", "X-Meltguard-Tier: plus", "X-Meltguard-User: root", "x-meltguard-user: root"),
    "before and after": ("X-Meltguard-User: root", "X_Meltguard_User: root", "X-Meltguard-Images: 0"),
    "hop by hop": ("Connection: X-Meltguard-Tier, x_meltguard_user, Authorization", "X-Meltguard-User: root"),
    "a tab after": ("X-Meltguard-User:\troot\t", "X-Meltguard-Tier: plus "),
    "folded into another": ("Accept: a", "\tX-Meltguard-User: root"),
}


@pytest.mark.parametrize("lines", SMUGGLED.values(), ids=SMUGGLED)
async def test_what_a_client_says_of_itself_reaches_nobody(lines: tuple[str, ...]) -> None:
    async with ground(OLD) as held:
        token = a_token(OLD, tier="basic", sub="bob")
        assert b"200 OK" in await held.raw(f"Authorization: Bearer {token}", *lines)
        told = held.mirror.said("x-meltguard-tier", "x-meltguard-user", "x-meltguard-images", "authorization")
        assert told == [("x-meltguard-tier", "free"), ("x-meltguard-user", "bob")]
        assert not any("meltguard" in name for name, _ in held.mirror.heads[-1] if name not in dict(told))
        assert await held.metric('meltguard_agent_admitted_total{tier="free"}') == 1.0


NO_HEADER = {
    "a space before the colon": "X-Meltguard-User : root",
    "a look-alike": "X\u2010Meltguard\u2010User: root",
    "wide letters": "\uff38-Meltguard-User: root",
    "a null": "X-Meltguard-User\0: root",
}


@pytest.mark.parametrize("line", NO_HEADER.values(), ids=NO_HEADER)
async def test_a_name_that_is_none_is_refused_whole(line: str) -> None:
    async with ground(OLD) as held:
        assert b" 400 " in await held.raw(f"Authorization: Bearer {a_token(OLD)}", line)
        assert held.mirror.heads == []


async def test_two_tokens_are_none() -> None:
    async with ground(OLD) as held:
        both = (f"Authorization: Bearer {a_token(OLD, tier='basic')}", f"authorization: Bearer {a_token(OLD)}")
        assert b"401" in await held.raw(*both)
        assert held.mirror.heads == []


async def test_a_client_is_told_what_its_token_lacks() -> None:
    async with ground(OLD) as held:
        none, forged = await held.ask(None), await held.ask(a_token(FORGED))
    assert (none.status, none.body["reason"], none.headers["www-authenticate"]) == (401, "token-missing", "Bearer")
    assert (forged.status, forged.body["reason"]) == (401, "signature")
    assert forged.headers["www-authenticate"].startswith('Bearer error="invalid_token"')
    assert forged.headers["content-type"] == "application/problem+json"


async def test_where_none_is_required_a_stranger_is_in_the_declared_tier(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    async with ground(OLD, required=False, journal=journal) as held:
        for token in (None, a_token(FORGED), "sk-abc"):
            assert (await held.ask(token, **{"X-Meltguard-Tier": "plus"})).status == 200
        assert held.mirror.said("x-meltguard-tier", "x-meltguard-user") == [("x-meltguard-tier", "free")]
        for outcome in ("none", "signature", "malformed"):
            assert await held.metric(f'meltguard_agent_tokens_total{{outcome="{outcome}"}}') == 1.0
    entries = [JournalEntry.parse(line) for line in journal.read_text().splitlines()]
    assert {entry.tier for entry in entries} == {"free"}
    assert len({entry.user for entry in entries}) == 1


async def test_a_token_that_was_believed_is_not_when_it_has_expired() -> None:
    async with ground(OLD, leeway=0) as held:
        token = a_token(OLD, exp=int(held.running.agent._clock.now()) + 5)
        assert (await held.ask(token)).status == 200

        async def expired() -> bool:
            told = await held.ask(token)
            return told.status == 401 and told.body["reason"] == "expired"

        await until(expired, within=10.0)


async def test_keys_change_while_tokens_are_in_use() -> None:
    async with ground(OLD) as held:
        old, new = a_token(OLD), a_token(NEW)
        assert (await held.ask(old)).status == 200
        held.issuer.body = key_set(OLD, NEW)
        await until(lambda: answered(held, new, 200))  # an unknown key has the set fetched
        assert (await held.ask(old)).status == 200
        held.issuer.body = key_set(NEW)
        await until(lambda: refused_unknown(held))  # as soon as the set is fetched for any reason
        assert (await held.ask(old)).status == 401
        assert (await held.ask(new)).status == 200


async def answered(held: Ground, token: str, status: int) -> bool:
    return (await held.ask(token)).status == status


async def refused_unknown(held: Ground) -> bool:
    """Have the set fetched; whether the old key is gone."""
    await held.ask(a_token(a_key("nobody's")))
    return await answered(held, a_token(OLD), 401)


async def test_while_the_issuer_is_away_its_last_keys_count_and_it_is_shown() -> None:
    async with ground(OLD) as held:
        assert (await held.ask(a_token(OLD))).status == 200
        held.issuer.status = 503

        async def failed() -> bool:
            told = await held.ask(a_token(NEW))
            return told.status == 503 and "retry-after" in told.headers and told.body["reason"] == "keys-unavailable"

        await until(failed)
        assert (await held.ask(a_token(OLD))).status == 200
        assert await held.metric('meltguard_agent_token_key_fetches_total{result="failed"}') >= 1.0
        assert await held.metric("meltguard_agent_token_keys ") == 1.0
        assert await held.metric("meltguard_agent_token_keys_age ") >= 0.0


async def test_an_issuer_that_redirects_or_floods_is_not_believed() -> None:
    async with ground(OLD) as held:
        held.issuer.status, held.issuer.headers = 302, {"location": held.issuer.url}
        await until(lambda: failures(held, 1))
        held.issuer.status, held.issuer.headers, held.issuer.body = 200, {}, b" " * 300_000 + key_set(NEW)
        await until(lambda: failures(held, 2))
        assert (await held.ask(a_token(OLD))).status == 200


async def failures(held: Ground, most: int) -> bool:
    await held.ask(a_token(NEW))
    return await held.metric('meltguard_agent_token_key_fetches_total{result="failed"}') >= most


async def test_unknown_keys_by_the_hundred_fetch_the_set_once() -> None:
    async with ground(OLD, ask_again_after=Seconds(60.0)) as held:
        assert (await held.ask(a_token(OLD))).status == 200
        before = held.issuer.asked
        tokens = [a_token(FORGED, header={"kid": f"k{number}"}) for number in range(200)]
        told = await asyncio.gather(*(held.ask(token) for token in tokens))
        assert {each.status for each in told} == {401}
        assert held.issuer.asked - before <= 1
        assert (await held.ask(a_token(OLD))).status == 200


async def test_the_first_requests_wait_for_the_keys_together() -> None:
    async with ground(OLD) as held:
        told = await asyncio.gather(*(held.ask(a_token(OLD)) for _ in range(8)))
        assert {each.status for each in told} == {200}
        assert held.issuer.asked == 1


async def test_an_issuer_that_hangs_holds_up_nobody_whose_key_is_known() -> None:
    async with ground(OLD) as held:
        assert (await held.ask(a_token(OLD))).status == 200
        held.issuer.answers.clear()
        asked = held.issuer.asked
        await asyncio.sleep(0.2)  # the set may be asked for again
        waiting = asyncio.create_task(held.ask(a_token(NEW)))
        await eventually(lambda: held.issuer.asked > asked)
        assert (await held.ask(a_token(OLD, sub="bob"))).status == 200
        assert not waiting.done()
        held.issuer.body = key_set(OLD, NEW)
        held.issuer.answers.set()
        assert (await waiting).status == 200


async def test_an_oversize_token_is_refused_unread() -> None:
    async with ground(OLD) as held:
        told = await held.ask(a_token(OLD, pad="x" * 9_000))
        assert (told.status, told.body["reason"]) == (401, "oversize")


async def test_health_needs_no_token_but_nobody_speaks_in_our_name_there() -> None:
    async with ground(OLD) as held:
        url = f"http://127.0.0.1:{held.running.data.port}/healthz"
        async with aiohttp.ClientSession() as session, session.get(url, headers={"X-Meltguard-User": "root"}) as answer:
            assert answer.status == 200
        assert held.mirror.said("x-meltguard-user", "x-meltguard-tier") == []


async def test_a_place_is_its_users_whatever_token_he_has() -> None:
    async with ground(OLD) as held:
        url = f"http://127.0.0.1:{held.running.data.port}/meltguard/places/pod-1/x"
        async with aiohttp.ClientSession() as session:
            for headers, status in (({}, 401), ({"Authorization": f"Bearer {a_token(OLD)}"}, 404)):
                async with session.get(url, headers=headers) as answer:
                    assert answer.status == status


async def test_neither_journal_nor_access_log_nor_metrics_bear_a_token(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    async with ground(OLD, required=False, journal=journal) as held:
        tokens = [a_token(OLD), a_token(FORGED)]
        for token in tokens:
            await held.ask(token)
        async with aiohttp.ClientSession() as session:
            metrics = (await look(session, held.running, "/metrics")).body
    written = journal.read_text() + metrics
    assert json.loads(journal.read_text().splitlines()[0])["tier"] == "plus"
    assert not any(part in written for token in tokens for part in token.split("."))
