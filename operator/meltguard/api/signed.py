"""A signed text: the receiver trusts the exact bytes, so nothing depends on how JSON is spelled."""

import base64
import binascii
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError
from typing_extensions import override

from meltguard.api.limit_document import MAX_DOCUMENT_BYTES, LimitDocument
from meltguard.api.wire import MessageModel
from meltguard.errors import InvalidInput

KEY_BYTES = 32


class Envelope(MessageModel):
    """A document's JSON text and the Ed25519 signature over its UTF-8 bytes."""

    key_id: str
    signature: str
    """Base64 of 64 bytes."""
    document: str


class SigningKey:
    """The operator's private key. Its text form is base64 of the 32 seed bytes."""

    def __init__(self, key_id: str, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise InvalidInput(
                f"signing key {key_id!r} has {len(seed)} bytes, it needs {KEY_BYTES}: make one with `meltguard keys`"
            )
        self.key_id = key_id
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @override
    def __repr__(self) -> str:
        return f"SigningKey({self.key_id!r})"  # never the key itself

    def public_text(self) -> str:
        """The public key as agents take it: `keyid=base64`."""
        return f"{self.key_id}={base64.b64encode(self._key.public_key().public_bytes_raw()).decode()}"

    def sign(self, document: LimitDocument) -> Envelope:
        """Wrap a document; what is signed is its JSON text."""
        text = document.model_dump_json(by_alias=True, exclude_none=True)
        signature = base64.b64encode(self.signature(text.encode())).decode()
        return Envelope(key_id=self.key_id, signature=signature, document=text)

    def signature(self, said: bytes) -> bytes:
        """The signature over these very bytes."""
        return self._key.sign(said)


class PublicKeys:
    """The keys that an agent trusts; two overlap while one is replaced."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = {name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in keys.items()}

    @classmethod
    def parse(cls, text: str) -> "PublicKeys":
        """Read `keyid=base64` entries divided by commas or white space.

        Raises:
            InvalidInput: an entry is not a key; the text names it.
        """
        return cls(dict(map(_key_entry, text.replace(",", " ").split())))

    def __len__(self) -> int:
        return len(self._keys)

    def open(self, raw: bytes) -> LimitDocument:
        """The document in a signed envelope.

        Raises:
            InvalidInput: too large, not an envelope, an unknown key, a wrong signature, or not a document.
        """
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise InvalidInput(f"the document has {len(raw)} bytes, at most {MAX_DOCUMENT_BYTES} are read")
        try:
            envelope = Envelope.model_validate_json(raw)
        except ValidationError as exc:
            raise InvalidInput(f"not a signed document: {exc.errors(include_input=False)[0]['msg']}") from exc
        self._verify(envelope)
        try:
            return LimitDocument.model_validate_json(envelope.document)
        except ValidationError as exc:
            first = exc.errors(include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidInput(f"signed, but not a limit document: {where}: {first['msg']}") from exc

    def verify(self, key_id: str, signature: bytes, said: bytes) -> None:
        """Believe that the key's owner said this.

        Raises:
            InvalidInput: an unknown key, or another's signature.
        """
        key = self._keys.get(key_id)
        if key is None:
            known = ", ".join(self._keys) or "none"
            raise InvalidInput(f"signed with key {key_id!r}, trusted are: {known}; give the agent that key")
        try:
            key.verify(signature, said)
        except InvalidSignature as exc:
            raise InvalidInput(f"the signature by key {key_id!r} does not fit the text") from exc

    def _verify(self, envelope: Envelope) -> None:
        try:
            signature = base64.b64decode(envelope.signature, validate=True)
        except binascii.Error as exc:
            raise InvalidInput(f"the signature by key {envelope.key_id!r} is not base64; sign the document") from exc
        self.verify(envelope.key_id, signature, envelope.document.encode())


def _key_entry(entry: str) -> tuple[str, bytes]:
    name, _, encoded = entry.partition("=")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as exc:
        raise InvalidInput(f"public key {name!r} is not base64; the form is keyid=base64") from exc
    if not name or len(raw) != KEY_BYTES:
        raise InvalidInput(
            f"public key {entry[:24]!r} has {len(raw)} bytes, it needs {KEY_BYTES}; the form is keyid=base64"
        )
    return name, raw
