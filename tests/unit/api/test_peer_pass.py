"""What the operator certifies of a pod: believed as signed, and in no other way."""

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.api.peer_pass import LONGEST_PASS, PeerPass, sealed, unsealed
from meltguard.api.signed import PublicKeys, SigningKey
from meltguard.errors import InvalidInput
from support.agents import KEY, a_lease, signed

KEYS = PublicKeys.parse(KEY.public_text())
PASS = PeerPass(policy="serving/image-gen", pod_uid="pod-1", address="10.0.0.7", port=9901, until=1_800_000_000.0)


def test_what_was_sealed_is_read_and_fits_into_a_path() -> None:
    text = sealed(KEY, PASS)
    assert unsealed(KEYS, text) == PASS
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    address = "fd00:1234:5678:9abc:def0:1234:5678:9abc"
    real = {"pod_uid": "7" * 36, "policy": f"{'n' * 63}/{'p' * 253}", "address": address}
    assert len(sealed(SigningKey("k" * 64, b"7" * 32), PASS.model_copy(update=real))) <= LONGEST_PASS


@given(place=st.integers(0, 400), character=st.sampled_from("aZ09-_.x"))
def test_no_changed_pass_says_anything_else(place: int, character: str) -> None:
    text = sealed(KEY, PASS)
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    with contextlib.suppress(InvalidInput):
        assert unsealed(KEYS, changed) == PASS  # base64 has spare bits in its last character


def parts(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


NONE = {
    "nothing": "",
    "one part": "abc",
    "too long": "a" * (LONGEST_PASS + 1),
    "no base64": "!.!.!",
    "not ASCII": "\u00e4.\u00e4.\u00e4",
    "another's": sealed(SigningKey("test", b"1" * 32), PASS),
    "of an unknown key": sealed(SigningKey("other", b"7" * 32), PASS),
}


@pytest.mark.parametrize("text", NONE.values(), ids=NONE)
def test_what_the_operator_did_not_sign_is_no_pass(text: str) -> None:
    with pytest.raises(InvalidInput):
        unsealed(KEYS, text)


def test_a_signature_of_a_document_is_none_of_a_pass_nor_the_other_way_round() -> None:
    said = PASS.model_dump_json(by_alias=True).encode()
    plain = ".".join((parts(b"test"), parts(said), parts(KEY.signature(said))))
    with pytest.raises(InvalidInput, match="does not fit"):
        unsealed(KEYS, plain)
    with pytest.raises(InvalidInput):
        KEYS.open(sealed(KEY, PASS).encode())
    assert KEYS.open(signed(a_lease())).peer_pass == ""
