"""Images that clients had and that the store still takes for held: their agent was killed before it could tell."""

from collections.abc import Mapping
from typing import Any

from meltguard.agent.quota_store import AccountKey, hashed
from support.agents import POLICY


def untold_images(client: Any, had: Mapping[tuple[str, str], int], lost: frozenset[str]) -> int:
    """How many; when their holds end (eleven minutes after the grant) their users may have so many again.

    A book that was flushed is left out: nothing is granted in it any more.
    """
    return sum(max(0, images - _spent(client, tier, user)) for (tier, user), images in had.items() if tier not in lost)


def _spent(client: Any, tier: str, user: str) -> int:
    account = AccountKey(policy=f"{POLICY.namespace}/{POLICY.name}", tier=tier, user=hashed(user))
    key = f"meltguard:{{{account.policy}}}:{account.book}:{account.user}"
    held = sum(int(str(value).partition(":")[0]) for value in client.hvals(f"{key}:holds"))
    return int(client.hget(key, "used") or 0) - held
