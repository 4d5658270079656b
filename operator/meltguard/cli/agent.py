"""`meltguard agent`: the agent as a process of its own, before a server that cannot be changed."""

import asyncio
import contextlib
import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from meltguard.agent.feature_paths import FeaturePaths
from meltguard.agent.proxy import proxying
from meltguard.agent.server import serving
from meltguard.agent.server_watch import look_at
from meltguard.agent.settings import (
    Address,
    AgentSettings,
    Callers,
    DecisionBounds,
    PlaceBounds,
    PolicyKey,
    QuotaSettings,
    ServerLook,
    StoreAddress,
)
from meltguard.agent.token_rules import TokenRules
from meltguard.api.signed import PublicKeys
from meltguard.core.units import Gpus, PodUid, Seconds, TierName
from meltguard.errors import InvalidInput

KEYS_HELP = "Trusted public keys, keyid=base64, divided by commas; two while one replaces the other."
MADE_HELP = "Header of the image server's answer: how many of the images asked for were made. The rest costs nothing."
STORE_HELP = (
    "Valkey or Redis of the quotas, redis://HOST:PORT/DB; rediss:// with TLS, redis+cluster:// for a cluster. "
    "It may bear a password, so prefer the variable."
)
ACCESS_HELP = "Append one JSON line an answer to this file (/dev/stdout): no prompts, no tokens, no query values."
OPENAI_HELP = "Tell limits in x-ratelimit-* fields too, as OpenAI's clients know them."
ASYNC_HELP = "Seconds after which any unanswered request becomes 202 and a place to poll; else only where clients ask."
TOKENS_HELP = (
    "Know callers by signed tokens (JWT): a YAML file of rules, see docs/callers.md. Their own headers never count."
)
TRUST_HELP = "A gateway sets or removes the tier, user and X-Meltguard-* headers itself; else they are not read."

UPSTREAM_HELP = "URL of the image server. Without it the agent decides for Envoy, NGINX, Traefik or Caddy (ways-in.md)."
HELD_HELP = "Seconds that a slot is held for a request of a proxy, if nobody tells its end."
ASSUMED_HELP = "Images that a request asks for at most whose body is not read whole; else quotas refuse it."
PRESET_HELP = "Read the image server's own queue: vllm, triton, ray-serve or comfyui."
OPEN_HELP = "More paths that make no images, divided by commas: they pass unguarded (ComfyUI: /ws,/queue)."
FEATURES_HELP = "Features that paths tell, whatever a header says: image-edit=/v1/images/edits, divided by commas."
WORD_HELP = "What the proxy sends in X-Meltguard-Proxy-Secret; prefer the variable."


def agent(
    policy: Annotated[str, typer.Option(help="namespace/name of the ImageServicePolicy to obey.")],
    pod_uid: Annotated[str, typer.Option(envvar="POD_UID", help="UID of this pod (downward API).")],
    keys: Annotated[str, typer.Option(envvar="MELTGUARD_PUBLIC_KEYS", help=KEYS_HELP)],
    upstream: Annotated[str | None, typer.Option(help=UPSTREAM_HELP)] = None,
    listen: Annotated[str, typer.Option(help="IP:port for the users' requests.")] = "0.0.0.0:8080",
    control_listen: Annotated[str, typer.Option(help="IP:port for documents and reports.")] = "0.0.0.0:9901",
    gpus: Annotated[int, typer.Option(min=1, help="Requests that may be in the GPU at once.")] = 1,
    baseline_file: Annotated[Path | None, typer.Option(help="The mounted baseline document.")] = None,
    state_file: Annotated[Path | None, typer.Option(help="What must outlive a restart; on a writable volume.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Append one JSON line a request to this file.")] = None,
    journal_names_users: Annotated[bool, typer.Option(help="Write users' names, not their hashes.")] = False,
    access_log: Annotated[Path | None, typer.Option(help=ACCESS_HELP)] = None,
    trust_gateway: Annotated[bool, typer.Option(help=TRUST_HELP)] = False,
    tokens: Annotated[Path | None, typer.Option(help=TOKENS_HELP)] = None,
    tier_header: Annotated[str, typer.Option(help="Header with the caller's tier.")] = "X-Meltguard-Tier",
    user_header: Annotated[str, typer.Option(help="Header with the caller's name.")] = "X-Meltguard-User",
    default_tier: Annotated[str, typer.Option(help="Tier of callers whose tier is not known.")] = "default",
    made_header: Annotated[str, typer.Option(help=MADE_HELP)] = "X-Meltguard-Delivered-Images",
    quota_store: Annotated[str | None, typer.Option(envvar="MELTGUARD_QUOTA_STORE", help=STORE_HELP)] = None,
    openai_fields: Annotated[bool, typer.Option(help=OPENAI_HELP)] = False,
    async_after: Annotated[float | None, typer.Option(min=0.1, help=ASYNC_HELP)] = None,
    quota_store_ca: Annotated[Path | None, typer.Option(help="Trust that store by this CA (PEM).")] = None,
    quota_store_cert: Annotated[Path | None, typer.Option(help="Our certificate for that store (PEM).")] = None,
    quota_store_key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    quota_budget: Annotated[float, typer.Option(min=0.001, help="Seconds for one answer of that store.")] = 0.05,
    held_within: Annotated[float, typer.Option(min=0.1, help=HELD_HELP)] = 60.0,
    assumed_images: Annotated[int | None, typer.Option(min=1, help=ASSUMED_HELP)] = None,
    server_preset: Annotated[str | None, typer.Option(help=PRESET_HELP)] = None,
    server_url: Annotated[str | None, typer.Option(help="Where that server tells its queue, if not as usual.")] = None,
    open_paths: Annotated[str, typer.Option(help=OPEN_HELP)] = "",
    feature_paths: Annotated[str, typer.Option(help=FEATURES_HELP)] = "",
    proxy_secret: Annotated[str | None, typer.Option(envvar="MELTGUARD_PROXY_SECRET", help=WORD_HELP)] = None,
) -> None:
    """Admit, queue or refuse requests before an image server, as signed documents say."""
    settings = _pod((policy, pod_uid, keys), listen, control_listen, gpus, async_after)
    settings = _with_files(settings, baseline_file, state_file, (journal, journal_names_users), access_log)
    known = _known((tier_header, user_header, made_header), default_tier, trust_gateway, tokens, openai_fields)
    quota = _quota(quota_store, (quota_store_ca, quota_store_cert, quota_store_key), Seconds(quota_budget))
    settings = replace(settings, callers=_beyond(known, open_paths, feature_paths, assumed_images), quota=quota)
    asyncio.run(_run(_asked(settings, (held_within, proxy_secret), (server_preset, server_url, upstream)), upstream))


def _pod(who: tuple[str, str, str], listen: str, control: str, gpus: int, async_after: float | None) -> AgentSettings:
    """Which pod's agent it is, where it listens, whom it obeys, and when it gives a place instead of an answer."""
    policy, pod_uid, keys = who
    return AgentSettings(
        policy=PolicyKey.parse(policy),
        pod_uid=PodUid(pod_uid),
        keys=_trusted(keys),
        listen=Address.parse(listen),
        control=Address.parse(control),
        gpus=Gpus(gpus),
        places=_places(async_after),
    )


def _trusted(text: str) -> PublicKeys:
    keys = PublicKeys.parse(text)
    if not keys:
        raise InvalidInput("no public key is given: --keys keyid=base64, as `meltguard keys public` prints it")
    return keys


def _places(after: float | None) -> PlaceBounds:
    return PlaceBounds(after=Seconds(after) if after is not None else None)


def _with_files(
    settings: AgentSettings, baseline: Path | None, state: Path | None, told: tuple[Path | None, bool], log: Path | None
) -> AgentSettings:
    journal, names = told
    files = replace(settings, baseline_file=baseline, state_file=state, access_log=log)
    return replace(files, journal=journal, journal_names_users=names)


def _known(
    headers: tuple[str, str, str], default_tier: str, trust_gateway: bool, tokens: Path | None, openai_fields: bool
) -> Callers:
    """How callers are known."""
    tier, user, made = headers
    return Callers(
        trust_gateway=trust_gateway,
        tokens=None if tokens is None else TokenRules.read(tokens),
        tier_header=tier.lower(),
        user_header=user.lower(),
        made_header=made.lower(),
        default_tier=TierName(default_tier),
        openai_fields=openai_fields,
    )


def _quota(url: str | None, tls: tuple[Path | None, Path | None, Path | None], budget: Seconds) -> QuotaSettings:
    ca, cert, key = tls
    store = None if url is None else StoreAddress(url=url, ca_file=ca, cert_file=cert, key_file=key)
    return QuotaSettings(store=store, budget=budget)


def _beyond(callers: Callers, paths: str, features: str, assumed_images: int | None) -> Callers:
    """The same, with more paths that nobody guards or that tell a feature, and the cost of what is not read whole.

    Raises:
        InvalidInput: one of them is no path.
    """
    more = frozenset(path.strip() for path in paths.split(",") if path.strip())
    if wrong := [path for path in more if not path.startswith("/")]:
        raise InvalidInput(f"open path {wrong[0]!r} is no path: it begins with /")
    told = FeaturePaths.parse(features)
    return replace(callers, open_paths=callers.open_paths | more, feature_paths=told, assumed_images=assumed_images)


def _asked(
    settings: AgentSettings, of_proxy: tuple[float, str | None], server: tuple[str | None, str | None, str | None]
) -> AgentSettings:
    """The same, with what holds for a proxy's questions, and how the server's own queue is seen."""
    held_within, secret = of_proxy
    bounds = DecisionBounds(held_within=Seconds(held_within), secret=secret)
    return replace(settings, decisions=bounds, server=_look(*server))


def _look(preset: str | None, url: str | None, upstream: str | None) -> ServerLook | None:
    return None if preset is None else look_at(preset, url, upstream)


async def _run(settings: AgentSettings, upstream: str | None) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        proxy = None if upstream is None else await stack.enter_async_context(proxying(upstream))
        running = await stack.enter_async_context(serving(settings, proxy))
        before = upstream or "a proxy that asks"
        typer.echo(
            f"agent of pod {settings.pod_uid}: requests on {running.data.host}:{running.data.port}, "
            f"control on {running.control.host}:{running.control.port}, before {before}"
        )
        await stop.wait()
