"""The access log: one JSON line a request, and nothing in it that a client would not want written down."""

import json
from pathlib import Path
from typing import Any

import aiohttp

from meltguard.agent.access_log import LONGEST, MOST_NAMES, logged_path, query_names
from meltguard.api.limit_document import TierState
from support.agent_requests import agent
from support.agents import FREE, PLUS, ImageServer, a_lease, ask, limited, push

SECRETS = ("a red fox", "sk-secret", "s3same", "ann")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_each_request_is_one_line_without_prompt_token_or_name(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "access.jsonl"
    async with agent(ImageServer(seconds=0.4), access_log=path) as running:
        await push(session, running, a_lease(limited(FREE, TierState.SUSPEND, 0.0), PLUS))
        secret = {"json": {"n": 2, "prompt": "a red fox"}, "headers": {"Authorization": "Bearer sk-secret"}}
        await ask(session, running, "plus", params={"key": "s3same", "n": "2"}, **secret)
        await ask(session, running, "free", **secret)
        told = await ask(session, running, "plus", headers={"Prefer": "respond-async"})
        async with session.get(f"http://127.0.0.1:{running.data.port}{told.headers['location']}") as answer:
            assert answer.status == 404
    text = path.read_text()
    assert not [secret for secret in SECRETS if secret in text]
    assert told.headers["location"] not in text
    made, refused, given, asked = lines(path)
    assert (made["method"], made["path"], made["query"], made["status"]) == ("POST", "/v1/images", ["key", "n"], 200)
    assert (made["tier"], made["units"], made["sent"]) == ("plus", 2.0, 5)
    assert made["took"] >= 0.4
    assert made["at"].endswith("Z")
    assert (refused["status"], refused["tier"], refused["reason"]) == (503, "free", "tier-suspended")
    assert (given["status"], asked["status"], asked["path"]) == (202, 404, "/meltguard/places/pod-1/...")


def test_what_anyone_may_send_is_cut() -> None:
    assert len(logged_path("/" + "x" * 10_000)) == LONGEST
    for path in ("pod-1/s3cret", "pod-1/pass/s3cret", "pod-1/s3cret/", "pod-1/pass/s3cret/more"):
        assert logged_path(f"/meltguard/places/{path}") == "/meltguard/places/pod-1/..."
    assert len(query_names(b"&".join(b"n%d=1" % number for number in range(1_000)))) == MOST_NAMES
    assert query_names(b"sk-secret&%0Aevil=1") == ("\nevil",)
