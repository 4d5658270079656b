from http import HTTPStatus
from pathlib import Path

import pytest

from meltguard.agent.documents import DocumentRefused
from meltguard.agent.envelope import BaselineFile, opened
from meltguard.api.limit_document import MAX_DOCUMENT_BYTES
from meltguard.api.signed import Envelope, PublicKeys, SigningKey
from support.agents import KEY, a_lease, signed

KEYS = PublicKeys.parse(KEY.public_text())
STRANGER = SigningKey("stranger", b"9" * 32)
IMPOSTOR = SigningKey(KEY.key_id, b"9" * 32)


def forged() -> bytes:
    envelope = Envelope.model_validate_json(signed(a_lease()))
    text = envelope.document.replace('"revision":1', '"revision":2')
    return envelope.model_copy(update={"document": text}).model_dump_json(by_alias=True).encode()


REFUSED = {
    "an unknown key": (signed(a_lease(), STRANGER), HTTPStatus.UNAUTHORIZED),
    "a known name, another key": (signed(a_lease(), IMPOSTOR), HTTPStatus.UNAUTHORIZED),
    "changed after signing": (forged(), HTTPStatus.UNAUTHORIZED),
    "a signature that is no base64": (
        b'{"keyId":"test","signature":"!","document":"{}"}',
        HTTPStatus.UNAUTHORIZED,
    ),
    "no JSON": (b"limits!", HTTPStatus.BAD_REQUEST),
    "no envelope": (b"{}", HTTPStatus.BAD_REQUEST),
    "deeply nested": (b"[" * 60_000, HTTPStatus.BAD_REQUEST),
    "too large": (b" " * (MAX_DOCUMENT_BYTES + 1), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
}


@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trusted_is_refused(raw: bytes, status: HTTPStatus) -> None:
    with pytest.raises(DocumentRefused) as refused:
        opened(KEYS, raw)
    assert refused.value.status is status


def test_a_signed_document_is_opened() -> None:
    document = a_lease()
    assert opened(KEYS, signed(document)) == document


def test_a_file_is_read_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    file = BaselineFile(path)
    assert file.changed() is None
    path.write_bytes(b"one")
    assert file.changed() == b"one"
    assert file.changed() is None
    (tmp_path / "next").write_bytes(b"two")
    (tmp_path / "next").replace(path)
    assert file.changed() == b"two"
    path.unlink()
    assert file.changed() is None
