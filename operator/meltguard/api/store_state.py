"""How the store of quotas stands with an agent, and what a person can do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class StoreState(StrEnum):
    """The state that agents report and count; all but the first two refuse tiers with a quota."""

    OK = "ok"
    UNUSED = "unused"  # no tier has a quota
    MISSING = "missing"
    SLOW = "slow"
    DOWN = "down"
    CLOSED = "closed"
    LOADING = "loading"
    READ_ONLY = "read-only"
    FULL = "full"
    LOST = "lost"
    REFUSED_CREDENTIALS = "refused-credentials"
    REFUSED_RIGHTS = "refused-rights"
    UNTRUSTED = "untrusted"
    CLUSTER = "cluster"
    FAULTY = "faulty"

    @classmethod
    def read(cls, word: str) -> "StoreState":
        """An agent's word; one of a newer agent that is not known here is a fault."""
        return next((state for state in cls if state == word), cls.FAULTY)

    @property
    def counts(self) -> bool:
        """Whether quotas can be counted, or need not be."""
        return self in {StoreState.OK, StoreState.UNUSED}


@dataclass(frozen=True, slots=True)
class StoreWords:
    """A state in plain words."""

    what: str
    step: str


WORDS: Final[Mapping[StoreState, StoreWords]] = {
    StoreState.OK: StoreWords("answers", "nothing is to be done"),
    StoreState.UNUSED: StoreWords("is not needed: no tier has a quota", "nothing is to be done"),
    StoreState.MISSING: StoreWords("is not set", "start the agents with --quota-store redis://HOST:PORT/DB"),
    StoreState.SLOW: StoreWords(
        "does not answer within --quota-budget",
        "look at its CPU, disk (appendfsync) and network, or raise the budget; with rediss://, see that it speaks TLS",
    ),
    StoreState.DOWN: StoreWords("cannot be reached", "look at its pods and Service, and at network policies"),
    StoreState.CLOSED: StoreWords(
        "closes the agents' connections",
        "wait if it restarts; else see whether it wants TLS (rediss://), a client certificate (--quota-store-cert), "
        "or has its maxclients",
    ),
    StoreState.LOADING: StoreWords("reads its file after a start", "wait; it answers by itself"),
    StoreState.READ_ONLY: StoreWords(
        "is a replica and may not be written to", "promote it, or point --quota-store at the primary"
    ),
    StoreState.FULL: StoreWords("is out of memory", "raise maxmemory; keep maxmemory-policy noeviction"),
    StoreState.LOST: StoreWords(
        "forgot what was spent: it was flushed or restarted empty",
        "wait for the period's end, or accept that counting begins anew (docs/quotas.md, Lost)",
    ),
    StoreState.REFUSED_CREDENTIALS: StoreWords(
        "refuses the agents' user or password", "correct the URL in the agents' Secret, then restart them"
    ),
    StoreState.REFUSED_RIGHTS: StoreWords(
        "refuses the agents' user a command or key", "give it the rights in deploy/valkey/users.acl"
    ),
    StoreState.UNTRUSTED: StoreWords(
        "has a TLS certificate that the agents do not trust",
        "give them the CA that signed it (--quota-store-ca), and the name it is for in the URL",
    ),
    StoreState.CLUSTER: StoreWords(
        "is a cluster, and answers for other nodes or not at all",
        "use redis+cluster:// or rediss+cluster:// in --quota-store; see CLUSTER INFO",
    ),
    StoreState.FAULTY: StoreWords("answers with an error", "read the agents' log"),
}


def told(state: StoreState) -> str:
    """The state and the next step in one sentence.

    >>> told(StoreState.FULL)
    'the quota store is out of memory: raise maxmemory; keep maxmemory-policy noeviction'
    """
    words = WORDS[state]
    return f"the quota store {words.what}: {words.step}"
