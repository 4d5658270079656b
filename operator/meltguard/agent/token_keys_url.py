"""An issuer's key set behind a URL."""

import ssl
from pathlib import Path
from typing import Final

import aiohttp

from meltguard.agent.token_keys import FileKeys, KeySource
from meltguard.agent.token_rules import TokenRules
from meltguard.agent.whole_answer import whole
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput, Unavailable

FETCH_WITHIN: Final = Seconds(5.0)
MOST_BYTES: Final = 262_144
OK: Final = 200


class UrlKeys:
    """A set that a server answers with."""

    def __init__(self, url: str, ca_file: Path | None) -> None:
        self._url = url
        try:
            self._tls = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
        except OSError as exc:
            raise InvalidInput(f"the CA of the token keys, {ca_file}, cannot be read: {exc}; name a PEM file") from exc

    async def fetch(self) -> bytes:
        """Ask the server. Nobody else is asked in its name: a redirect is a failure."""
        timeout = aiohttp.ClientTimeout(total=FETCH_WITHIN)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.get(self._url, ssl=self._tls, allow_redirects=False) as answer,
            ):
                if answer.status != OK:
                    raise Unavailable(f"{self._url} answered {answer.status}; ask its owner")
                return await whole(answer, MOST_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise Unavailable(f"{self._url} did not answer: {type(exc).__name__} {exc}; is it up?") from exc


def source_of(rules: TokenRules) -> KeySource:
    """Where these rules have the keys from."""
    return UrlKeys(rules.keys, rules.ca_file) if rules.remote else FileKeys(Path(rules.keys), MOST_BYTES)
