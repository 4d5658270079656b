import pytest

from meltguard.localcluster.toolchain import go_version

VERSIONS = {
    "a release": ("go version go1.26.8 linux/amd64", (1, 26)),
    "two digits": ("go version go1.101 linux/amd64", (1, 101)),
    "a development tree": ("go version devel go1.28-abc linux/amd64", (1, 28)),
    "something else": ("command not found", (0, 0)),
}


@pytest.mark.parametrize(("printed", "version"), VERSIONS.values(), ids=VERSIONS)
def test_the_compiler_says_how_old_it_is(printed: str, version: tuple[int, int]) -> None:
    assert go_version(printed) == version
