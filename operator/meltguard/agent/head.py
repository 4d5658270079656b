"""What a request's headers say, in so far as anybody here looks for it."""

from typing import Final

import msgspec

from meltguard.agent.asgi import Header

HEAD: Final = "meltguard.head"  # in a scope: its Head
LENGTH: Final = b"content-length"
TRANSFER: Final = b"transfer-encoding"
CONTENT_TYPE: Final = b"content-type"
KEY: Final = b"idempotency-key"
PREFER: Final = b"prefer"


class Head(msgspec.Struct):
    """A request's headers, read once."""

    passed: list[Header]  # that go on to the app: none speaks for us
    said: dict[bytes, bytes]  # values by lower-case name, of those that somebody looks for
    twice: set[bytes]  # names of these that came more than once: nobody knows who said which

    def text(self, name: bytes) -> str:
        """What one says; "" where it does not, or is ambiguous.

        >>> Head([], {b"prefer": b"wait=5"}, set()).text(b"prefer")
        'wait=5'
        """
        value = self.said.get(name)
        return "" if value is None else value.decode("latin-1")

    def __contains__(self, name: object) -> bool:
        return name in self.said or name in self.twice
