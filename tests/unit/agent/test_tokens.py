"""Which tokens are believed: signed by the issuer's key, for us, now; whatever else comes is told apart."""

import asyncio
import json
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import Key, OctKey, RSAKey

from meltguard.agent.token_keys import KeyRing, keys_in
from meltguard.agent.tokens import Fault, TokenReader, Verified, plain
from meltguard.clock import SystemClock
from meltguard.core.units import Instant, Seconds
from support.issuer import (
    a_key,
    a_token,
    b64,
    bearing_its_own_key,
    claims,
    key_set,
    public_key_as_secret,
    rules,
    unsigned,
)

KEYS = {algorithm: a_key(f"k-{algorithm}", algorithm) for algorithm in ("RS256", "ES256", "Ed25519")}
OTHER = a_key("k-ES256")  # of the same name, not the issuer's
NOW = SystemClock().now()
END = int(NOW)


class Told:
    """A source that holds a set."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    async def fetch(self) -> bytes:
        """The set."""
        await asyncio.sleep(0)
        return self.raw


def a_ring(*keys: Key, raw: bytes | None = None) -> KeyRing:
    """A ring that holds these keys."""
    ring = KeyRing(Told(key_set(*keys) if raw is None else raw), SystemClock(), Seconds(300.0), Seconds(10.0))
    asyncio.run(ring.ask())
    return ring


RING = a_ring(*KEYS.values())


def read(token: str | bytes, now: float = NOW, **changes: Any) -> Verified | Fault:
    raw = token if isinstance(token, bytes) else token.encode("latin-1")
    return TokenReader(rules("unused", **changes), RING).read(raw, Instant(now))


def good(key: Key = KEYS["ES256"], algorithm: str = "ES256", **changes: Any) -> str:
    return a_token(key, algorithm, **{"iat": END, "exp": END + 600, **changes})


def said(**changes: Any) -> bytes:
    return json.dumps(claims(**{"iat": END, "exp": END + 600, **changes})).encode()


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_token_of_the_issuer_names_user_and_tier(algorithm: str) -> None:
    told = read(good(KEYS[algorithm], algorithm))
    assert isinstance(told, Verified)
    assert (told.user, told.tier) == ("ann", "plus")


head, body, signature = good().split(".")
FAULTS: dict[str, tuple[str | bytes, Fault]] = {
    "another key of the same name": (a_token(OTHER), Fault.SIGNATURE),
    "a changed claim": (f"{head}.{b64(said(sub='root'))}.{signature}", Fault.SIGNATURE),
    "no signature": (f"{head}.{body}.", Fault.SIGNATURE),
    "alg none": (unsigned({"alg": "none", "kid": "k-ES256"}, said()), Fault.ALGORITHM),
    "alg None": (unsigned({"alg": "None", "kid": "k-ES256"}, said()), Fault.ALGORITHM),
    "HMAC with the public key": (public_key_as_secret(KEYS["RS256"], said()), Fault.ALGORITHM),
    "its own key": (bearing_its_own_key(OTHER), Fault.SIGNATURE),
    "a key nobody knows": (a_token(a_key("k9")), Fault.UNKNOWN_KEY),
    "another algorithm than its key's": (unsigned({"alg": "RS256", "kid": "k-ES256"}, b"{}", b"x"), Fault.UNKNOWN_KEY),
    "expired": (good(exp=END - 31), Fault.EXPIRED),
    "not yet": (good(nbf=END + 40), Fault.NOT_YET),
    "of tomorrow": (good(iat=END + 86_400), Fault.NOT_YET),
    "of another issuer": (good(iss="https://login.example.evil"), Fault.ISSUER),
    "of no issuer": (good(iss=None), Fault.ISSUER),
    "for another service": (good(aud="image"), Fault.AUDIENCE),
    "for others": (good(aud=["a", "b"]), Fault.AUDIENCE),
    "for nobody": (good(aud=None), Fault.AUDIENCE),
    "without an end": (good(exp=None), Fault.CLAIMS),
    "with an end that is no number": (good(exp="soon"), Fault.CLAIMS),
    "with an end that is not finite": (good(exp=float("inf")), Fault.CLAIMS),
    "with an end that is true": (good(exp=True), Fault.CLAIMS),
    "of nobody": (good(sub=None), Fault.CLAIMS),
    "of a list": (good(sub=["ann"]), Fault.CLAIMS),
    "of somebody with a very long name": (good(sub="a" * 257), Fault.CLAIMS),
    "too large": (good(pad="x" * 8_192), Fault.OVERSIZE),
    "a critical header": (unsigned({"alg": "ES256", "kid": "k-ES256", "crit": ["x"], "x": 1}, b"{}"), Fault.MALFORMED),
    "no token": ("sk-abc", Fault.MALFORMED),
    "nothing": ("", Fault.MALFORMED),
    "deeply nested": (f"{b64(b'[' * 5_000)}.e30.", Fault.MALFORMED),
    "a header that is a text": (unsigned("alg", b"{}"), Fault.MALFORMED),
    "a key's name that is a list": (unsigned({"alg": "ES256", "kid": ["k"]}, b"{}"), Fault.MALFORMED),
    "claims that are a list": (jws.serialize_compact({"alg": "ES256"}, b"[]", KEYS["ES256"]), Fault.MALFORMED),
    "claims that are no JSON": (jws.serialize_compact({"alg": "ES256"}, b"[" * 5_000, KEYS["ES256"]), Fault.MALFORMED),
    "an encrypted token": ("a.b.c.d.e", Fault.MALFORMED),
    "not even ASCII": (b"\xff.\xfe.\xfd", Fault.MALFORMED),
}


@pytest.mark.parametrize(("token", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_bad_token_is_not_believed_and_told_apart(token: str | bytes, fault: Fault) -> None:
    assert read(token) is fault


def test_every_fault_but_two_that_need_more_than_a_token_is_tried() -> None:
    assert {fault for _, fault in FAULTS.values()} == set(Fault) - {Fault.REPEATED, Fault.NO_KEYS}


@given(st.binary(max_size=200))
@settings(max_examples=100)
def test_no_bytes_are_believed_or_break_the_reader(token: bytes) -> None:
    assert isinstance(read(token), Fault)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)


@given(
    header=st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jku", "x5c"]), JSON) | JSON,
    payload=st.binary(max_size=50),
)
@settings(max_examples=100)
def test_no_header_is_believed_or_breaks_the_reader(header: Any, payload: bytes) -> None:
    assert isinstance(read(unsigned(header, payload, b"x" * 64)), Fault)


@given(st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "tier"]), JSON))
@settings(max_examples=60)
def test_signed_nonsense_names_nobody_by_accident(told: dict[str, Any]) -> None:
    """The issuer may sign anything; only what says all that is needed counts."""
    payload = said(**told)
    token = jws.serialize_compact({"alg": "ES256", "kid": "k-ES256"}, payload, KEYS["ES256"])
    found = read(token)
    if isinstance(found, Verified):
        assert isinstance(told.get("sub", "ann"), str | int)
        assert found.user.isascii()
        assert found.user.isprintable()
        assert found.until <= NOW + 3_600.0


LEEWAYS = {"just over": (31, Fault.EXPIRED), "within": (29, None)}


@pytest.mark.parametrize(("late", "fault"), LEEWAYS.values(), ids=LEEWAYS)
def test_clocks_may_differ_a_little(late: int, fault: Fault | None) -> None:
    found = read(good(exp=END), now=END + late)
    assert found is fault if fault else isinstance(found, Verified)


def test_a_token_is_believed_no_longer_than_it_lasts_and_an_hour() -> None:
    brief, long = read(good(exp=END + 60)), read(good(exp=END + 10**12))
    assert isinstance(brief, Verified)
    assert isinstance(long, Verified)
    assert (brief.until, long.until) == (END + 90, NOW + 3_600.0)


TIERS = {
    "a text": ({"tier": "gold"}, {}, "plus"),
    "the first listed of several": ({"tier": ["basic", "gold"]}, {}, "plus"),
    "none that is listed": ({"tier": "platinum"}, {}, None),
    "not a text": ({"tier": {"gold": True}}, {}, None),
    "a path": ({"realm": {"roles": ["x", "basic"]}}, {"tier_claim": "realm.roles"}, "free"),
    "a name with dots": ({"https://a.example/tier": "gold"}, {"tier_claim": "https://a.example/tier"}, "plus"),
    "as it stands": ({"tier": "plus"}, {"tiers": {}}, "plus"),
    "as it stands, of several": ({"tier": ["plus", "free"]}, {"tiers": {}}, None),
    "as it stands, over two lines": ({"tier": "plus\r\nx: y"}, {"tiers": {}}, "plus%0D%0Ax:%20y"),
}


@pytest.mark.parametrize(("told", "changes", "tier"), TIERS.values(), ids=TIERS)
def test_a_tier_is_what_the_map_makes_of_the_claim(told: dict[str, Any], changes: dict[str, Any], tier: str) -> None:
    found = read(good(**{"tier": None, **told}), **changes)
    assert isinstance(found, Verified)
    assert found.tier == tier


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_names_stay_different_and_fit_into_a_header(one: str, another: str) -> None:
    assert (plain(one) == plain(another)) == (one == another)
    assert plain(one).isascii()
    assert not any(each.isspace() or not each.isprintable() for each in plain(one))


def test_a_token_without_a_keys_name_is_verified_by_the_only_key_that_fits() -> None:
    token = jws.serialize_compact({"alg": "ES256"}, said(), KEYS["ES256"]).encode()
    reader = TokenReader(rules("unused"), RING)
    assert isinstance(reader.read(token, NOW), Verified)
    two = TokenReader(rules("unused"), a_ring(KEYS["ES256"], a_key("k2")))
    assert two.read(token, NOW) is Fault.UNKNOWN_KEY


def test_a_published_secret_is_no_key() -> None:
    secret = OctKey.import_key("a" * 40, {"kid": "s"})
    raw = json.dumps({"keys": [secret.as_dict(private=True), KEYS["ES256"].as_dict(private=False)]}).encode()
    assert [key.kid for key in a_ring(raw=raw).keys] == ["k-ES256"]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it is weak is the point
    WEAK = key_set(RSAKey.generate_key(1024, {"kid": "w"}))
SETS = {
    "not JSON": b"<html>",
    "no set": b"[]",
    "no keys": b'{"keys": []}',
    "nested": b"[" * 100_000,
    "keys of another trade": key_set(a_key(), use="enc"),
    "a weak key": WEAK,
    "a broken key": b'{"keys": [{"kty": "RSA", "n": "AQ", "e": "!"}, 7, {"kty": "EC", "crv": "P-256"}]}',
}


@pytest.mark.filterwarnings("ignore:Key size")  # the library's word on the weak one
@pytest.mark.parametrize("raw", SETS.values(), ids=SETS)
def test_a_set_without_a_good_key_leaves_the_last_one(raw: bytes) -> None:
    async def kept() -> tuple[KeyRing, int]:
        source = Told(key_set(KEYS["ES256"]))
        ring = KeyRing(source, SystemClock(), Seconds(300.0), Seconds(10.0))
        await ring.ask()
        source.raw = raw
        await ring.ask()
        return ring, len(ring.keys)

    ring, left = asyncio.run(kept())
    assert (left, ring.failing, ring.fetches) == (1, True, {"taken": 1, "failed": 1})


MEMBERS = ["kty", "n", "e", "x", "y", "crv", "kid", "alg", "use", "key_ops", "d", "k", "x5c"]
WORDS = st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519", "secp256k1", "sig", "verify", "AQAB", "AQ", ""]) | JSON


@given(st.lists(st.dictionaries(st.sampled_from(MEMBERS), WORDS), max_size=3))
@settings(max_examples=100)
def test_no_strange_key_spoils_a_good_one(strange: list[dict[str, Any]]) -> None:
    good_one = KEYS["ES256"].as_dict(private=False)
    found = keys_in(json.dumps({"keys": [good_one, *strange]}).encode())
    assert found[0].kid == "k-ES256"
