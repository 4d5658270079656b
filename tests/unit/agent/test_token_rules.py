"""The file that says which tokens are believed: a mistake in it is named, and nothing unsafe can be written."""

from pathlib import Path

import pytest

from meltguard.agent.settings import Callers
from meltguard.agent.token_rules import TokenRules
from meltguard.errors import InvalidInput

GOOD = "keys: https://login.example/jwks.json\nissuer: https://login.example\naudience: image-gen\n"


def read(folder: Path, text: str) -> TokenRules:
    path = folder / "tokens.yaml"
    path.write_text(text)
    return TokenRules.read(path)


def test_three_lines_are_enough(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)
    assert (found.remote, found.required, found.user_claim, found.tier_claim) == (True, False, "sub", "tier")


def test_tiers_keep_their_order(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD + "tiers: {z: plus, a: free}\nrequired: true\nalgorithms: [RS512]\n")
    assert list(found.tiers.items()) == [("z", "plus"), ("a", "free")]
    assert found.algorithms == {"RS512"}


MISTAKES = {
    "no audience": ("keys: a\nissuer: b\n", "audience"),
    "an unknown key": (GOOD + "jwksUrl: x\n", "jwksUrl"),
    "alg none": (GOOD + "algorithms: [RS256, none]\n", "no other algorithm"),
    "an HMAC": (GOOD + "algorithms: [HS256]\n", "no other algorithm"),
    "no algorithm": (GOOD + "algorithms: []\n", "no other algorithm"),
    "plain http": (GOOD.replace("https://login.example/jwks", "http://login.example/jwks"), "use https"),
    "a long leeway": (GOOD + "leeway: 3600\n", "leeway"),
    "not YAML": ("keys: [", "are not YAML"),
    "a list": ("- a\n", "file"),
    "nothing": ("", "file"),
}


@pytest.mark.parametrize(("text", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.yaml cannot be read"):
        TokenRules.read(tmp_path / "nowhere.yaml")


def test_tokens_and_a_gateways_word_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--trust-gateway or --tokens"):
        Callers(trust_gateway=True, tokens=read(tmp_path, GOOD))
