"""Claims that somebody else took off a node: without its claim a lent node would not know its way home."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from meltguard.api.claim import parse_claim
from meltguard.api.to_core import PoolObject
from meltguard.core.fleet import Claim, NodeView
from meltguard.core.units import NodeName
from meltguard.errors import InvalidInput

log = logging.getLogger(__name__)

MOST_ENDED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A claim as it was last seen."""

    uid: str  # the node's
    claim: Claim


@dataclass(slots=True)
class LostClaims:
    """Remembers claims from pass to pass; a term begins with those that the pools' status bears."""

    known: dict[NodeName, Known] = field(default_factory=dict)
    ended: dict[str, None] = field(default_factory=dict)  # moves that we released, in their order
    restored: set[str] = field(default_factory=set)  # moves whose claim was put back once

    def remember(self, pools: Iterable[PoolObject]) -> None:
        """What was written down before this term: a claim may have come off while nobody looked.

        A loan that is in the books was ended by us, even if the list of loans was not written since.
        """
        for one in pools:
            booked = {past.move for past in one.status.ledger.recent} if one.status.ledger is not None else set()
            for loan in one.status.loans:
                if loan.way_home is None or loan.node_uid is None:
                    continue
                try:
                    claim = parse_claim(loan.way_home)
                except InvalidInput as exc:
                    log.warning("copy of a claim not read", extra={"node": loan.node, "why": str(exc)})
                    continue
                if claim.move_id not in booked:
                    self.known.setdefault(NodeName(loan.node), Known(uid=loan.node_uid, claim=claim))

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

    def counted(self, nodes: Sequence[NodeView]) -> tuple[NodeView, ...]:
        """The nodes as loans are counted: one whose claim cannot be read now is still on the loan that it was on.

        For counting only, since unknown is not none: such a node is never written.
        """
        return tuple(map(self._as_counted, nodes)) if any(node.claim_problem for node in nodes) else tuple(nodes)

    def _as_counted(self, node: NodeView) -> NodeView:
        known = self.known.get(node.name) if node.claim_problem else None
        return node if known is None or known.uid != node.uid else replace(node, claim=known.claim)

    def owed(self, nodes: Iterable[NodeView]) -> tuple[NodeView, ...]:
        """As `counted`; a node whose claim somebody else took off is on its loan until it is put back or forgotten."""
        return tuple(map(self._as_owed, nodes))

    def _as_owed(self, node: NodeView) -> NodeView:
        known = self.known.get(node.name) if node.claim is None else None
        if known is None or known.uid != node.uid or known.claim.move_id in self.ended:
            return node
        return replace(node, claim=known.claim)

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
