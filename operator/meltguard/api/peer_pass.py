"""What the operator certifies of a serving pod to the other pods of its service: where its agent is.

A pass is no secret: it travels in the addresses of places, and clients see it. Who shows one must also speak from the
address that it names, or be found there.
"""

import base64
from typing import Annotated, Final

from pydantic import Field

from meltguard.api.signed import PublicKeys, SigningKey
from meltguard.api.wire import MessageModel
from meltguard.errors import InvalidInput

PASS_LASTS: Final = 3_600.0  # seconds from its signing; each lease brings a new one
LONGEST_PASS: Final = 1_024  # characters
CONTEXT: Final = b"meltguard peer pass\n"  # goes before what is signed: no document's signature fits a pass


class PeerPass(MessageModel):
    """One pod's agent."""

    policy: str
    """namespace/name of the policy that it obeys."""
    pod_uid: str
    address: str
    """The pod's IP, as the API server has it."""
    port: Annotated[int, Field(ge=1, le=65_535)]
    """Of its control interface."""
    until: float
    """Seconds since the epoch; then it says nothing any more."""


def sealed(key: SigningKey, one: PeerPass) -> str:
    """A pass in the characters of a path: key, pass and signature, divided by dots."""
    said = one.model_dump_json(by_alias=True).encode()
    return ".".join(map(_text, (key.key_id.encode(), said, key.signature(CONTEXT + said))))


def unsealed(keys: PublicKeys, text: str) -> PeerPass:
    """The pass in a text, whoever sent it.

    Raises:
        InvalidInput: it is none, or not signed by a key that is trusted.
    """
    parts = text.split(".") if len(text) <= LONGEST_PASS else []
    try:
        key_id, said, signature = map(_bytes, parts)
        keys.verify(key_id.decode(), signature, CONTEXT + said)
        return PeerPass.model_validate_json(said)
    except ValueError as exc:  # of base64, of UTF-8 or of the shape
        raise InvalidInput("this is no pass of a pod; the operator gives one with each lease") from exc


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
