"""Whom of the other pods' agents one believes."""

import pytest

from meltguard.agent.peers import PassEnded, Peers
from meltguard.agent.place_paths import AMONG_AGENTS, PREFIX, PlacePath
from meltguard.errors import InvalidInput
from support.agents import ManualClock, agent_settings
from support.peers import a_pass, a_pass_text


def at(clock: ManualClock) -> Peers:
    return Peers(agent_settings(), clock)


def test_an_agent_shows_its_newest_pass_as_long_as_it_is_good() -> None:
    clock = ManualClock()
    known = at(clock)
    assert known.own == ""
    first = a_pass_text(until=clock.wall + 60.0)
    known.introduced(first)
    assert known.own == first
    second = a_pass_text(until=clock.wall + 90.0)
    for text in (second, "", "rubbish", a_pass_text(pod_uid="pod-2", until=clock.wall + 90.0)):
        known.introduced(text)
    assert known.own == second, "what is no pass of this pod's changes nothing"
    clock.pass_by(90.0)
    assert known.own == ""


def test_a_holder_is_where_its_pass_says_until_that_ends() -> None:
    clock = ManualClock()
    text = a_pass_text(until=clock.wall + 60.0, address="10.0.0.7")
    known = at(clock)
    assert known.holder(text, "pod-1") == a_pass(until=clock.wall + 60.0, address="10.0.0.7")
    with pytest.raises(InvalidInput, match="another pod"):
        known.holder(text, "pod-2")
    with pytest.raises(InvalidInput, match="serving/other"):
        known.holder(a_pass_text(policy="serving/other", until=clock.wall + 60.0), "pod-1")
    clock.pass_by(60.0)
    with pytest.raises(PassEnded):
        known.holder(text, "pod-1")


TELLERS = {
    "the same": ("10.0.0.7", "10.0.0.7"),
    "IPv4 in IPv6": ("10.0.0.7", "::ffff:10.0.0.7"),
    "IPv6 in another spelling": ("fd00::7", "fd00:0:0:0::7"),
}


@pytest.mark.parametrize(("named", "seen"), TELLERS.values(), ids=TELLERS)
def test_who_shows_a_pass_speaks_from_its_address(named: str, seen: str) -> None:
    clock = ManualClock()
    text = a_pass_text(until=clock.wall + 60.0, address=named)
    at(clock).check_teller(text, seen)
    for other in ("10.0.0.8", "fd00::8", ""):
        with pytest.raises(InvalidInput, match="NAT"):
            at(clock).check_teller(text, other)


PATHS = {
    "without a pass": PlacePath("pod-1", "", "id"),
    "with one": PlacePath("pod-1", "a.b.c", "id"),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_path_is_read_as_it_was_written(path: PlacePath) -> None:
    assert PlacePath.parse(str(path)) == path
    assert PlacePath.parse(path.among_agents) == path._replace(peer_pass="")
    assert PlacePath.parse(f"{path}/").id == "", "nor is what follows an id one"


@pytest.mark.parametrize("path", [PREFIX, AMONG_AGENTS, f"{PREFIX}pod-1", f"{PREFIX}pod-1/", f"{PREFIX}//"])
def test_what_names_no_place_has_no_id(path: str) -> None:
    assert PlacePath.parse(path).id == ""
