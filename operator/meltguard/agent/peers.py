"""The other pods of the service, as far as the operator vouches for them: no list of pods is kept anywhere.

The operator gives each agent a pass with its lease: which pod it is and where, signed with the key of the documents.
An agent puts its own into the addresses of its places, so any other agent that is asked there knows where to pass the
question on. It shows its own when it does, and is believed where it speaks from the address that the pass names.
"""

import logging
from ipaddress import IPv4Address, IPv6Address, ip_address

from meltguard.agent.settings import AgentSettings
from meltguard.api.peer_pass import PeerPass, unsealed
from meltguard.errors import InvalidInput
from meltguard.ports import Clock

log = logging.getLogger(__name__)


class PassEnded(InvalidInput):
    """A pass that was good once."""


class Peers:
    """One agent's pass, and its judgement of others'."""

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._keys, self._clock = settings.keys, clock
        self._policy, self._pod = str(settings.policy), settings.pod_uid
        self._own: PeerPass | None = None
        self._text = ""

    @property
    def own(self) -> str:
        """What this agent shows; "" where no operator vouches for it."""
        return self._text if self._own is not None and self._clock.now() < self._own.until else ""

    def introduced(self, text: str) -> None:
        """A lease came with this pass. A lease is obeyed also where its pass is of no use."""
        if not text:
            return
        try:
            own = self._good(text)
        except InvalidInput as exc:
            log.warning("the operator's pass is not taken", extra={"why": str(exc)})
            return
        if own.pod_uid == self._pod:
            self._own, self._text = own, text

    def holder(self, text: str, pod: str) -> PeerPass:
        """Where the agent of a pod is, by the pass in a place's address.

        Raises:
            PassEnded: it says nothing any more.
            InvalidInput: the operator did not write it, or not for this pod and service.
        """
        found = self._good(text)
        if found.pod_uid != pod:
            raise InvalidInput("it is another pod's")
        return found

    def check_teller(self, text: str, address: str) -> None:
        """Who speaks from this address is the agent that its pass names.

        Raises:
            InvalidInput: it is not.
        """
        teller = self._good(text)
        if _plain(teller.address) != _plain(address):
            raise InvalidInput(
                f"it is for the pod at {teller.address}, and {address} shows it; is there NAT between pods?"
            )

    def _good(self, text: str) -> PeerPass:
        found = unsealed(self._keys, text)
        if found.policy != self._policy:
            raise InvalidInput(f"it is of a pod of {found.policy}; this one serves {self._policy}")
        if found.until <= self._clock.now():
            raise PassEnded("it has ended; the operator gives a new one with each lease")
        return found


def _plain(address: str) -> IPv4Address | IPv6Address | str:
    """An address in one spelling: a socket that listens on both families writes IPv4 as IPv6."""
    try:
        read = ip_address(address)
    except ValueError:
        return address
    return read.ipv4_mapped or read if isinstance(read, IPv6Address) else read
