"""Claims that somebody else took off a node: without its claim a lent node would not know its way home."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from meltguard.core.fleet import Claim, NodeView
from meltguard.core.units import NodeName

MOST_ENDED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A claim as it was last seen."""

    uid: str  # the node's
    claim: Claim


@dataclass(slots=True)
class LostClaims:
    """Remembers claims from pass to pass, within one term; after a restart the pools' ledgers name the loans."""

    known: dict[NodeName, Known] = field(default_factory=dict)
    ended: dict[str, None] = field(default_factory=dict)  # moves that we released, in their order
    restored: set[str] = field(default_factory=set)  # moves whose claim was put back once

    def look(self, nodes: Iterable[NodeView]) -> Iterator[tuple[NodeName, Known]]:
        """The claims that are not there any more, though nobody of us released them; what is there is remembered."""
        there = {node.name: node for node in nodes}
        for name, known in list(self.known.items()):
            node = there.get(name)
            if node is None or node.uid != known.uid or known.claim.move_id in self.ended:
                del self.known[name]
            elif node.claim is None and not node.claim_problem:
                yield name, known
        for node in there.values():
            if node.claim is not None and node.claim.move_id not in self.ended:
                self.known[node.name] = Known(uid=node.uid, claim=node.claim)

    def released(self, claim: Claim) -> None:
        """We took it off ourselves."""
        self.ended[claim.move_id] = None
        while len(self.ended) > MOST_ENDED:
            del self.ended[next(iter(self.ended))]

    def forget(self, name: NodeName) -> None:
        """A person's word: this claim is not put back."""
        known = self.known.pop(name, None)
        if known is not None:
            self.released(known.claim)
