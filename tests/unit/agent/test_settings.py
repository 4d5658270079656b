import pytest

from meltguard.agent.settings import Address, PolicyKey
from meltguard.errors import InvalidInput


@pytest.mark.parametrize("text", ["", "8080", ":8080", "host:", "host:http", "host:70000", "host:-1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write IP:port"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["", "image-gen", "/image-gen", "serving/", "a/b/c"])
def test_a_policy_that_is_not_named_whole_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="write namespace/name"):
        PolicyKey.parse(text)


def test_what_is_well_written_is_read() -> None:
    assert Address.parse("127.64.0.9:9901") == Address("127.64.0.9", 9901)
    assert str(PolicyKey.parse("serving/image-gen")) == "serving/image-gen"
