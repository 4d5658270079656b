"""Passes a question about a place on to the agent that holds it, so that any pod of a service can be asked.

Only to an agent that the operator vouches for, in the place's own address; only this question, in words of our own: no
header of the client goes along. Who it is that asks was found out here, as for every request, and is told by name: a
token never leaves the pod that its bearer gave it to. The holder never passes anything on, so there are no loops.
"""

import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from meltguard.agent.asgi import Answer, Receive, Send, problem
from meltguard.agent.leaving import left, unless_gone
from meltguard.agent.peers import PassEnded, Peers
from meltguard.agent.place_desk import EVENTS, PlaceAsk
from meltguard.agent.place_paths import PlacePath
from meltguard.agent.proxy import returned, streamed
from meltguard.api.peer_pass import PeerPass
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput

TELLER_HEADER: Final = "x-meltguard-teller"  # the pass of the agent that asks
OWNER_HEADER: Final = "x-meltguard-place-owner"
MARK_HEADER: Final = "x-meltguard-place"  # of an answer: what the holder's agent says of it
HELD, NOT_TAKEN = "held", "not-taken"  # the place's own answer; or the agent's, who did not look

METHODS: Final = frozenset({"GET", "DELETE"})
ID: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
MOST: Final = 256  # questions under way, event streams included
MOST_OF_OWNER: Final = 32
CONNECT_WITHIN: Final = Seconds(2.0)
SOON: Final = 2  # seconds

NO_ADDRESS: Final = "no pod of this service gave this address of a place; use the Location as it was told"
TOO_OLD: Final = "this address is older than any place is kept; ask for the image anew"
ELSEWHERE: Final = (
    "this place is at another pod, and the question cannot be passed on: {}; route by the path's third part, the pod"
)
NO_LEASE: Final = "no lease of the operator has introduced this pod to the others yet"
GONE: Final = (
    "the pod that held this place is gone, and the request with it: it cost nothing that was not delivered; "
    "ask for the image anew, with the same Idempotency-Key"
)
UNREACHED: Final = "the pod that holds this place did not answer; ask again, and if that goes on ask for the image anew"
MANY: Final = "too many questions about places of other pods are under way here; ask again"


class Passed(StrEnum):
    """What became of a question for another pod."""

    ANSWERED = "answered"
    REFUSED = "refused"  # here: a forged or old address, or too many questions
    NOT_INTRODUCED = "not-introduced"  # the operator has vouched for one of the two agents not, or not any more
    GONE = "gone"
    UNREACHED = "unreached"


class PlaceRelay:
    """One agent's questions to others."""

    def __init__(self, peers: Peers, silence_within: Seconds) -> None:
        self._peers, self._silence_within = peers, silence_within
        self._session: aiohttp.ClientSession | None = None  # made in the loop that it serves
        self._of_owner: Counter[str] = Counter()
        self.passed: Counter[Passed] = Counter()

    async def pass_on(self, path: PlacePath, ask: PlaceAsk, receive: Receive, send: Send) -> None:
        """Have the holder answer, as long as the client is there."""
        found = self._holder(path, ask)
        if isinstance(found, Answer):
            await found.send(send)
            return
        self._of_owner[ask.owner] += 1
        try:
            await unless_gone(self._relay(found, path, ask, send), left(receive))
        finally:
            self._of_owner -= Counter({ask.owner: 1})

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _holder(self, path: PlacePath, ask: PlaceAsk) -> PeerPass | Answer:
        """Who holds a place, or why nobody is asked."""
        if ask.method not in METHODS:
            return self._told(Passed.REFUSED, problem(405, "a place takes GET and DELETE"))
        if not self._peers.own or not path.peer_pass:
            return self._told(Passed.NOT_INTRODUCED, problem(421, ELSEWHERE.format(NO_LEASE)))
        if self._of_owner.total() >= MOST or self._of_owner[ask.owner] >= MOST_OF_OWNER:
            return self._told(Passed.REFUSED, problem(503, MANY).again_after(SOON))
        try:
            found = self._peers.holder(path.peer_pass, path.pod)
        except PassEnded:
            return self._told(Passed.REFUSED, problem(410, TOO_OLD))
        except InvalidInput:
            return self._told(Passed.REFUSED, problem(404, NO_ADDRESS))
        return found if ID.fullmatch(path.id) else self._told(Passed.REFUSED, problem(404, NO_ADDRESS))

    async def _relay(self, holder: PeerPass, path: PlacePath, ask: PlaceAsk, send: Send) -> None:
        url = URL.build(scheme="http", host=holder.address, port=holder.port, path=path.among_agents)
        try:
            async with self._opened().request(
                ask.method, url, headers=self._headers(ask), allow_redirects=False
            ) as answer:
                mark = answer.headers.get(MARK_HEADER)
                if mark != HELD:
                    await self._not_held(answer.status, mark).send(send)
                    return
                self.passed[Passed.ANSWERED] += 1
                headers = [header for header in returned(answer) if header[0] != MARK_HEADER.encode()]
                await streamed(answer, headers, send, f"pod {path.pod}")
        except (aiohttp.ClientError, TimeoutError) as exc:
            await self._failed(exc).send(send)

    def _headers(self, ask: PlaceAsk) -> Mapping[str, str]:
        accept = {"accept": EVENTS} if EVENTS in ask.accept else {}
        return {TELLER_HEADER: self._peers.own, OWNER_HEADER: quote(ask.owner, safe=""), **accept}

    def _not_held(self, status: int, mark: str | None) -> Answer:
        """Not the place's own answer: whoever is at that address has it not, or does not know us."""
        if mark != NOT_TAKEN or status == HTTPStatus.MISDIRECTED_REQUEST:
            return self._told(Passed.GONE, problem(410, GONE))
        if status == HTTPStatus.FORBIDDEN:
            return self._told(Passed.NOT_INTRODUCED, problem(421, ELSEWHERE.format("its agent does not know this one")))
        return self._told(Passed.UNREACHED, problem(503, UNREACHED).again_after(SOON))

    def _failed(self, exc: Exception) -> Answer:
        if isinstance(exc, aiohttp.ClientConnectorError) and isinstance(exc.os_error, ConnectionRefusedError):
            return self._told(Passed.GONE, problem(410, GONE))
        return self._told(Passed.UNREACHED, problem(503, UNREACHED).again_after(SOON))

    def _told(self, passed: Passed, answer: Answer) -> Answer:
        self.passed[passed] += 1
        return answer

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_WITHIN, sock_read=self._silence_within)
            connector = aiohttp.TCPConnector(limit=MOST, force_close=True)  # one that is reused may have just ended
            self._session = aiohttp.ClientSession(
                timeout=timeout, connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session
