"""What the services' decisions ask of nodes, and what the services hear of each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from meltguard.core.arbiter import Wish
from meltguard.core.decision import Decision
from meltguard.core.move_actions import Intent
from meltguard.core.policy import Policy
from meltguard.core.providers import Want
from meltguard.core.rest import rest_ends
from meltguard.core.sharing import FRESH, Peer
from meltguard.core.units import Instant, NodeName


@dataclass(slots=True)
class Board:
    """What the services' decisions ask of nodes; the mover reads it."""

    intents: dict[str, Mapping[NodeName, Intent]] = field(default_factory=dict)  # by policy uid
    wanted: dict[str, Wish] = field(default_factory=dict)  # by policy uid: not arbitrated yet
    lacking: dict[str, Wish] = field(default_factory=dict)  # by policy uid: what its last decision wants
    wants: dict[str, Want] = field(default_factory=dict)  # what providers are asked for, by policy uid
    rested: dict[str, Instant] = field(default_factory=dict)  # node name to when it came home
    waits: dict[NodeName, str] = field(default_factory=dict)  # what a claimed node is waiting for
    peers: dict[str, Peer] = field(default_factory=dict)  # services that want nodes, by policy uid

    def remember(self, rested: Mapping[str, Instant]) -> None:
        """What was written down before this process began: a rest does not end with who granted it."""
        for node, at in rested.items():
            self.rested[node] = max(at, self.rested.get(node, at))

    def came_home(self, node: NodeName, policy_uid: str, at: Instant) -> None:
        """What was wanted of the node is done: it must not be asked of its next loan.

        A policy that is gone asks nothing, and goes on having said nothing: that is what sends its nodes home.
        """
        self.rested[node] = at
        asked = self.intents.get(policy_uid)
        if asked is not None:
            self.intents[policy_uid] = {name: intent for name, intent in asked.items() if name != node}

    def rests(self, node: NodeName, now: Instant) -> bool:
        """Whether it came home lately and stays there for now."""
        return rest_ends(self.rested, node, now) is not None

    def decided(self, policy: Policy, decision: Decision) -> None:
        """What a service's decision asks of nodes, of providers and of the other services."""
        self.intents[policy.uid] = decision.intents
        self.wants.pop(policy.uid, None)
        if decision.want is not None:
            self.wants[policy.uid] = decision.want
        self.heard(policy.uid, decision.as_peer)
        self.wishes(Wish(policy=policy, plan=decision.borrow, shortage=decision.shortage))

    def wishes(self, wish: Wish) -> None:
        """What a service would claim by its last decision; whatever it wished for before is void."""
        uid = wish.policy.uid
        self._withdraw(uid)
        if wish.plan:
            self.wanted[uid] = self.lacking[uid] = wish

    def take(self) -> tuple[Wish, ...]:
        """What is wished for since this was asked last."""
        wishes = tuple(self.wanted.values())
        self.wanted.clear()
        return wishes

    def claimed(self, policy_uid: str) -> None:
        """It was given nodes: what it wished for meanwhile was decided without them."""
        self.wanted.pop(policy_uid, None)

    def _withdraw(self, policy_uid: str) -> None:
        self.wanted.pop(policy_uid, None)
        self.lacking.pop(policy_uid, None)

    def heard(self, policy_uid: str, peer: Peer | None) -> None:
        """What a service wants now; None: nothing. Whoever goes on finding none waits since the first time."""
        before = self.peers.pop(policy_uid, None)
        if peer is None:
            return
        found_none = before.finds_none if before else {}
        since = {lender: found_none.get(lender, at) for lender, at in peer.finds_none.items()}
        self.peers[policy_uid] = replace(peer, finds_none=since)

    def others(self, policy_uid: str, now: Instant) -> tuple[Peer, ...]:
        """What all the other services want, as far as they said so lately."""
        said = ((uid, peer) for uid, peer in sorted(self.peers.items()) if uid != policy_uid)
        return tuple(peer for _, peer in said if now - peer.at <= FRESH)

    def forget(self, policy_uid: str) -> None:
        """The policy is gone: its nodes go home by that."""
        self.intents.pop(policy_uid, None)
        self._withdraw(policy_uid)
        self.wants.pop(policy_uid, None)
        self.peers.pop(policy_uid, None)
