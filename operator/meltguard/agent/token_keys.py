"""An issuer's public keys (JWK set, RFC 7517): fetched, replaced whole, kept while no better ones are to be had."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable
from meltguard.ports import Clock

log = logging.getLogger(__name__)

MOST_KEYS: Final = 64
LEAST_RSA_BITS: Final = 2_048
FETCHES: Final = ("taken", "failed")
UNUSABLE: Final = (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError)
KINDS: Final = {"RS": RSAKey, "PS": RSAKey, "ES": ECKey, "Ed": OKPKey}  # by how an algorithm's name begins


class KeySource(Protocol):
    """Where the set is."""

    async def fetch(self) -> bytes:
        """The set as JSON text.

        Raises:
            Unavailable: it is not to be had.
        """
        ...


class KeyRing:
    """The keys that count now."""

    def __init__(self, source: KeySource, clock: Clock, refresh_every: Seconds, ask_again_after: Seconds) -> None:
        self._source, self._clock = source, clock
        self._refresh_every, self._ask_again_after = refresh_every, ask_again_after
        self.keys: tuple[Key, ...] = ()
        self.edition = 0  # rises when the keys change
        self.fetches: Counter[str] = Counter()
        self.failing = True  # the last fetch brought nothing
        self._raw = b""
        self._taken: Seconds | None = None
        self._asked: Seconds | None = None
        self._asking: asyncio.Task[None] | None = None

    @property
    def age(self) -> Seconds | None:
        """Seconds since the set was last fetched; None where it never was."""
        return None if self._taken is None else Seconds(self._clock.elapsed() - self._taken)

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key that a token names, or the only one for its algorithm where it names none."""
        fitting = [key for key in self.keys if _fits(key, algorithm) and kid in {None, key.get("kid")}]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None

    @property
    def may_ask(self) -> bool:
        """Whether it is long enough ago that the set was asked for, or it is being asked for now."""
        since = None if self._asked is None else self._clock.elapsed() - self._asked
        return self._asking is not None or since is None or since >= self._ask_again_after

    async def ask(self) -> None:
        """Fetch the set, together with whoever else wants it now."""
        if self._asking is None:
            self._asked = self._clock.elapsed()
            self._asking = asyncio.create_task(self._fetch())
            self._asking.add_done_callback(self._asked_for)
        await asyncio.shield(self._asking)

    async def run(self) -> None:
        """Keep the set fresh until cancelled."""
        try:
            while True:
                await self.ask()
                await asyncio.sleep(self._ask_again_after if self.failing else self._refresh_every)
        finally:
            if self._asking is not None:
                self._asking.cancel()

    def _asked_for(self, _task: "asyncio.Task[None]") -> None:
        self._asking = None

    async def _fetch(self) -> None:
        try:
            raw = await self._source.fetch()
            if raw != self._raw or not self.keys:
                self.keys, self._raw = keys_in(raw), raw
                self.edition += 1
        except (Unavailable, InvalidInput) as exc:
            self.fetches["failed"] += 1
            self.failing = True
            log.warning("token keys not fetched, the last ones count", extra={"keys": len(self.keys), "why": str(exc)})
            return
        self.fetches["taken"] += 1
        self.failing = False
        self._taken = self._clock.elapsed()


def keys_in(raw: bytes) -> tuple[Key, ...]:
    """The keys of a set that can verify signatures; others in it are nobody's business here.

    Raises:
        InvalidInput: it is no set, or has no such key.
    """
    try:
        members = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput(f"the issuer's key set is not JSON: {exc}; look at what its URL or file holds") from exc
    listed = members.get("keys") if isinstance(members, dict) else None
    found = tuple(_usable(listed)) if isinstance(listed, list) else ()
    if not found:
        raise InvalidInput("the issuer's key set has no public key for signatures; look at what its URL or file holds")
    return found


def _usable(listed: list[Any]) -> Iterator[Key]:
    for told in listed[:MOST_KEYS]:
        if not isinstance(told, dict) or told.get("use", "sig") != "sig" or told.get("kty") == "oct":
            continue  # a secret that is published is none
        try:
            key = JWKRegistry.import_key(told)
            weak = isinstance(key, RSAKey) and key.public_key.key_size < LEAST_RSA_BITS
        except UNUSABLE as exc:
            log.warning("a token key is not usable", extra={"why": type(exc).__name__})
            continue
        if not weak:
            yield key


def _fits(key: Key, algorithm: str) -> bool:
    return isinstance(key, KINDS[algorithm[:2]]) and key.get("alg", algorithm) == algorithm


class FileKeys:
    """A set in a file that another may replace at any time."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path, self._most = path, most_bytes

    async def fetch(self) -> bytes:
        """Read the file."""
        try:
            return await asyncio.to_thread(self._read)
        except OSError as exc:
            raise Unavailable(f"key set {self._path} cannot be read: {exc}; mount it") from exc

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            return file.read(self._most)
