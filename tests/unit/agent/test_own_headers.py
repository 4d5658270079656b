"""No spelling of a client's lets it speak in our name."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltguard.agent.asgi import Header
from meltguard.agent.caller import Caller
from meltguard.agent.cost import COST_HEADERS
from meltguard.agent.own_headers import OwnHeaders, folded
from meltguard.agent.settings import Callers
from meltguard.core.units import TierName

NAMED = Callers(tier_header="x-team-tier", user_header="x-meltguard-user")
OURS = ("x-team-tier", "x-meltguard-user", "x-meltguard-delivered-images", *COST_HEADERS)
PUNCTUATION = "".join(sorted(set(string.punctuation + " \t") - set(":")))
ANN = Caller(TierName("free"), "ann", "address 10.0.0.1")


def handed_on(headers: list[Header], caller: Caller) -> list[Header]:
    own = OwnHeaders(NAMED)
    return own.handed_on(own.read(headers), caller)


@st.composite
def spellings(draw: st.DrawFn, name: str) -> bytes:
    """A header's name as somebody may write it whom some server understands nevertheless."""
    letters = [draw(st.sampled_from([each, each.upper()])) for each in name]
    between = st.sampled_from(PUNCTUATION + "\x80\xad\xff")  # latin-1 bytes, as a lenient server hands them on
    return "".join(draw(between) if each == "-" else each for each in letters).encode("latin-1")


def cgi(name: bytes) -> bytes:
    """What a server that hands headers on as variables makes of a name."""
    return bytes(byte if chr(byte).isalnum() and byte < 128 else ord("_") for byte in name.strip()).upper()


@given(data=st.data(), name=st.sampled_from(OURS), value=st.binary(max_size=20))
def test_no_spelling_of_ours_passes(data: st.DataObject, name: str, value: bytes) -> None:
    spelled = data.draw(spellings(name))
    headers = [(b"host", b"a"), (spelled, value), (b"accept", b"*/*")]
    assert OwnHeaders(NAMED).read(headers).passed == [(b"host", b"a"), (b"accept", b"*/*")]


@given(st.lists(st.tuples(st.one_of(st.text("xX-_meltguardusri. ", max_size=20), st.sampled_from(OURS)), st.just("v"))))
def test_what_goes_on_names_one_caller_and_it_is_ours(pairs: list[tuple[str, str]]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in pairs]
    found = handed_on(headers, ANN)
    assert [value for name, value in found if cgi(name) == b"X_TEAM_TIER"] == [b"free"]
    assert [value for name, value in found if cgi(name) == b"X_MELTGUARD_USER"] == [b"ann"]


def test_a_caller_without_a_name_is_not_named_to_the_server() -> None:
    stranger = Caller(TierName("free"), "address 10.0.0.1", "address 10.0.0.1")
    headers = [(b"x-meltguard-user", b"root")]
    assert handed_on(headers, stranger) == [(b"x-team-tier", b"free")]


def test_a_gateways_cost_goes_on_in_its_own_spelling_only() -> None:
    gateway = OwnHeaders(Callers(trust_gateway=True))
    headers = [(b"x-meltguard-images", b"1"), (b"x_meltguard_images", b"9"), (b"x-meltguard-size", b"1x1")]
    assert gateway.read(headers).passed == [(b"x-meltguard-images", b"1"), (b"x-meltguard-size", b"1x1")]


def test_a_feature_named_twice_is_named_to_nobody() -> None:
    headers = [(b"x-meltguard-feature", b"a"), (b"x-meltguard-feature", b"b")]
    assert OwnHeaders(NAMED).read(headers).passed == []


CONNECTIONS = {
    "ours is not dropped": (b"close, X-Meltguard-User , x_team_tier", b"close"),
    "others stay": (b"keep-alive, x-hop", b"keep-alive, x-hop"),
}


@pytest.mark.parametrize(("sent", "left"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_a_connection_header_does_not_unsay_us(sent: bytes, left: bytes) -> None:
    assert OwnHeaders(NAMED).read([(b"connection", sent)]).passed == [(b"connection", left)]


def test_folding_is_remembered_for_a_bounded_number_of_names() -> None:
    own = OwnHeaders(NAMED)
    for number in range(5_000):
        own.read([(b"x-%d" % number, b"")])
    assert len(own._meanings) <= 1_024


@given(st.binary(max_size=30))
def test_a_folded_name_is_ascii_and_folds_to_itself(name: bytes) -> None:
    assert folded(folded(name)) == folded(name)
    assert folded(name).isascii()
