"""What `kubectl meltguard` shows and orders, against an API server that can be told when to answer what."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from meltguard.adapters.kubernetes_client import KubernetesApi
from meltguard.controller.policies import Policies
from support.eventually import soon
from support.fake_apiserver import FakeApiServer, serving, write_kubeconfig
from support.objects import a_policy_object

PATH = "/apis/meltguard.io/v1alpha1/namespaces/serving/imageservicepolicies/image-gen"


class Ground:
    """A server with one policy, and where to find it."""

    def __init__(self, server: FakeApiServer, kubeconfig: Path) -> None:
        self.server = server
        self.kubeconfig = kubeconfig

    def write(self, why: str, **changes: Any) -> None:
        """The policy, with a status."""
        self.server.put(PATH, {**a_policy_object(**changes), "status": {"why": why}})

    @property
    def overrides(self) -> list[Any]:
        """As the policy has them."""
        held = next(body for key, body in self.server.objects.items() if key[1] == "imageservicepolicies")
        return list(held["spec"]["overrides"])

    async def plugin(self, *arguments: str) -> tuple[int, str, str]:
        """The plugin as a process: exit code, what it printed, what it complained of."""
        words = (str(Path(sys.executable).with_name("python")), "-c", "from meltguard.cli.plugin import app; app()")
        process = await asyncio.create_subprocess_exec(
            *words,
            *arguments,
            "--kubeconfig",
            str(self.kubeconfig),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "NO_COLOR": "1"},
        )
        async with soon(60.0):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    server = FakeApiServer()
    server.faults.append(_who)
    async with serving(server.handle) as url:
        made = Ground(server, write_kubeconfig(tmp_path / "kubeconfig", url))
        made.write("first")
        yield made


async def test_a_change_before_the_watch_begins_is_not_lost(ground: Ground) -> None:
    async with await KubernetesApi.connect(str(ground.kubeconfig)) as api:
        policies = Policies(api=api, namespace="serving")
        assert (await policies.bodies("image-gen"))[0]["status"]["why"] == "first"
        ground.write("second")
        async with aclosing(policies.changed()) as news, soon():
            await anext(news)


async def test_a_change_between_two_watches_is_not_lost(ground: Ground) -> None:
    ended = 0

    async def ends_at_once(request: web.Request) -> web.StreamResponse | None:
        """The first watch ends quietly, as the API server ends each; something is written before the next."""
        nonlocal ended
        if not request.query.get("watch") or ended:
            return None
        ended += 1
        ground.write("in between")
        response = web.StreamResponse()
        await response.prepare(request)
        return response

    ground.server.faults.append(ends_at_once)
    async with await KubernetesApi.connect(str(ground.kubeconfig)) as api:
        policies = Policies(api=api, namespace="serving")
        async with aclosing(policies.changed()) as news, soon():
            shown = ""
            while shown != "in between":
                await anext(news)
                shown = (await policies.bodies("image-gen"))[0]["status"]["why"]
    assert ended == 1


async def test_remove_without_saying_what_denies_no_override_that_is_there(ground: Ground) -> None:
    level = {"level": "Critical", "until": "2099-01-01T00:00:00Z", "reason": "launch day", "by": "ada"}
    ground.write("held", overrides=[level])
    code, _, said = await ground.plugin("override", "image-gen", "-n", "serving", "--remove")
    assert code == 2
    assert "there is no override of the level" not in said
    assert "--tier" in said
    assert "--level" in said
    assert ground.overrides == [level]


async def test_overrides_are_listed(ground: Ground) -> None:
    one = {"tier": "free", "limit": "40/m", "until": "2099-01-01T00:00:00Z", "reason": "launch day", "by": "ada"}
    ground.write("held", overrides=[one, {**one, "tier": "pro", "until": "2020-01-01T00:00:00Z"}])
    code, out, said = await ground.plugin("override", "image-gen", "-n", "serving", "--list")
    assert (code, said) == (0, "")
    rows = out.splitlines()
    assert rows[0].split() == ["SETS", "UNTIL", "BY", "REASON"]
    assert ("free: 40/m" in rows[1], "(over)" in rows[1]) == (True, False)
    assert ("pro: 40/m" in rows[2], "(over)" in rows[2]) == (True, True)
    ground.write("held", overrides=[])
    assert (await ground.plugin("override", "image-gen", "-n", "serving", "--list"))[1] == "image-gen has no override\n"


async def test_return_goes_to_the_context_that_is_named(ground: Ground) -> None:
    ground.server.requests.clear()
    code, _, said = await ground.plugin("return", "gpu-1", "--context", "elsewhere")
    assert code == 2
    assert "elsewhere" in said
    assert "No such option" not in said
    assert ground.server.requests == []


async def _who(request: web.Request) -> web.StreamResponse | None:
    """Everybody is ada."""
    if not request.path.endswith("/selfsubjectreviews"):
        return None
    return web.json_response({"status": {"userInfo": {"username": "ada"}}})
