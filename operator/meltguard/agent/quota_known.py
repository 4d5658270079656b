"""Users known to have used their allowance up: they are refused without asking the store. Bounded in users and time."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.agent.quota_store import Outcome
from meltguard.core.units import Seconds

MOST_KNOWN: Final = 20_000  # accounts; about 10 MB
HELD_KNOWN_FOR: Final = Seconds(1.0)
"""Images that others hold may be given back at any moment: so long at most is that hidden from their user."""
SPENT_KNOWN_FOR: Final = Seconds(60.0)
"""Images that were delivered stay spent; so long at most is it hidden that a person reset an account in the store."""

Account = tuple[str, str]
"""Book and user's hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An account as the store told it when it refused a claim."""

    used: int
    spent: int  # those of `used` that were delivered
    at: Seconds  # steady clock
    resets_at: Seconds
    window: Seconds
    requests: Mapping[str, Outcome] | None  # all of the account's; None: too many to tell


class KnownAccounts:
    """The accounts refused last. What is kept are facts of the account, so they hold for any limit and any ask."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._known: OrderedDict[Account, Standing] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, account: Account, standing: Standing) -> None:
        """An account was refused; the one that was not asked for longest makes room."""
        self._known[account] = standing
        self._known.move_to_end(account)
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def forget(self, account: Account) -> None:
        """Something changed: ask the store again."""
        self._known.pop(account, None)

    def standing(self, account: Account, at: Seconds) -> Standing | None:
        """What is known of an account, unless it is too old to say anything."""
        known = self._known.get(account)
        if known is None:
            return None
        if at >= min(known.resets_at, known.at + SPENT_KNOWN_FOR):
            del self._known[account]
            return None
        self._known.move_to_end(account)
        return known


def verdict(known: Standing, images: int, limit: int, at: Seconds, request: str | None) -> Outcome | None:
    """What the store would answer to a claim, as far as that is certain; None: ask it.

    A request with a key may be one that runs or was delivered. Nothing new can have been granted where all is spent,
    so the requests told then are all there are.

    >>> full = Standing(used=3, spent=3, at=Seconds(0.0), resets_at=Seconds(9e4), window=Seconds(9e4), requests={})
    >>> verdict(full, 1, 3, Seconds(59.0), None).value
    'exhausted'
    """
    if request is not None:
        if known.spent < limit or known.requests is None:
            return None
        return known.requests.get(request, Outcome.EXHAUSTED)
    if known.spent + images > limit:
        return Outcome.EXHAUSTED
    if known.used + images > limit and at < known.at + HELD_KNOWN_FOR:
        return Outcome.EXHAUSTED
    return None
