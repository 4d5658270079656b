"""Where a place is: which pod holds it, what the operator says of that pod, and which place there."""

from typing import Final, NamedTuple

from typing_extensions import override

PREFIX: Final = "/meltguard/places/"
AMONG_AGENTS: Final = "/v1/places/"  # of the control interface: a question that another agent passes on


class PlacePath(NamedTuple):
    """The address of a place, in its parts."""

    pod: str
    peer_pass: str  # "" where no operator vouched for the pod
    id: str

    @override
    def __str__(self) -> str:
        return PREFIX + "/".join(part for part in self if part)

    @property
    def among_agents(self) -> str:
        """The same, as the holder is asked by another agent."""
        return f"{AMONG_AGENTS}{self.pod}/{self.id}"

    @property
    def logged(self) -> str:
        """What may be written down of it: the id opens the place to its owner."""
        return f"{PREFIX}{self.pod}/..."

    @classmethod
    def parse(cls, path: str) -> "PlacePath":
        """Read a path that begins with PREFIX or AMONG_AGENTS; what is no place's has no id that is known.

        >>> PlacePath.parse("/meltguard/places/pod-1/pass/id")
        PlacePath(pod='pod-1', peer_pass='pass', id='id')
        >>> PlacePath.parse("/v1/places/pod-1/id")
        PlacePath(pod='pod-1', peer_pass='', id='id')
        """
        before = PREFIX if path.startswith(PREFIX) else AMONG_AGENTS
        pod, _, rest = path.removeprefix(before).partition("/")
        peer_pass, _, place_id = rest.rpartition("/")
        return cls(pod, peer_pass, place_id)
