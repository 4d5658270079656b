"""Signed documents as they come in: opened, or refused with an HTTP status."""

from http import HTTPStatus
from pathlib import Path

from pydantic import ValidationError

from meltguard.agent.documents import DocumentRefused
from meltguard.api.limit_document import MAX_DOCUMENT_BYTES, LimitDocument
from meltguard.api.signed import PublicKeys
from meltguard.errors import InvalidInput


def opened(keys: PublicKeys, raw: bytes) -> LimitDocument:
    """The document in a signed envelope.

    Raises:
        DocumentRefused: 413 too large, 401 unknown key or wrong signature, 400 not a document.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        fix = f"at most {MAX_DOCUMENT_BYTES} bytes are read"
        raise DocumentRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body", f"{len(raw)} bytes", fix)
    try:
        return keys.open(raw)
    except InvalidInput as exc:
        malformed = isinstance(exc.__cause__, ValidationError)
        if malformed:
            raise DocumentRefused(HTTPStatus.BAD_REQUEST, "body", "not a document", str(exc)) from exc
        raise DocumentRefused(HTTPStatus.UNAUTHORIZED, "signature", "not trusted", str(exc)) from exc
    except RecursionError as exc:
        raise DocumentRefused(HTTPStatus.BAD_REQUEST, "body", "nested too deeply", "send a document") from exc


class BaselineFile:
    """A mounted file that another may replace at any time."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> bytes | None:
        """The content if it is new since the last call; None where nothing changed or nothing is there."""
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
            version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if version == self._seen:
                return None
            with self._path.open("rb") as file:
                raw = file.read(MAX_DOCUMENT_BYTES + 1)
        except OSError:
            return None  # being replaced, or gone: the last baseline holds, the next look may find it
        self._seen = version
        return raw
