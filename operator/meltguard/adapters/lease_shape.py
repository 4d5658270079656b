"""A Lease on the wire: who holds it, for how long, and the how-manieth change of holder this is."""

from dataclasses import dataclass
from typing import Any, Final, Self

import msgspec

from meltguard.clock import rfc3339_micro
from meltguard.core.units import Epoch, Instant, Seconds
from meltguard.errors import Unavailable

API_VERSION: Final = "coordination.k8s.io/v1"
LONGEST_DURATION: Final = 300.0
"""A duration written by someone else is believed up to here."""


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The part that election reads."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class LeaseShape(msgspec.Struct, frozen=True):
    """A Lease."""

    spec: LeaseSpec = LeaseSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One holder's claim to the Lease."""

    holder: str
    epoch: Epoch
    duration: Seconds
    acquired: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """A Lease as read: what we understand of it, and the whole object, so that writing it back loses nothing."""

    spec: LeaseSpec
    whole: dict[str, Any]

    @classmethod
    def read(cls, body: bytes) -> Self:
        """A Lease's JSON.

        Raises:
            Unavailable: it is no Lease.
        """
        try:
            return cls(spec=msgspec.json.decode(body, type=LeaseShape).spec, whole=msgspec.json.decode(body))
        except msgspec.DecodeError as exc:
            raise Unavailable(f"the Lease cannot be read ({exc}); delete it, it is made anew") from exc

    @classmethod
    def absent(cls, namespace: str, name: str) -> Self:
        """What stands for a Lease that is not there: nobody's, before the first epoch."""
        metadata = {"namespace": namespace, "name": name}
        return cls(spec=LeaseSpec(), whole={"apiVersion": API_VERSION, "kind": "Lease", "metadata": metadata})

    @property
    def holder(self) -> str:
        """Empty where nobody holds it."""
        return self.spec.holder_identity or ""

    @property
    def epoch(self) -> Epoch:
        """How often the holder has changed."""
        return Epoch(self.spec.lease_transitions or 0)

    def lifetime(self, usual: Seconds) -> Seconds:
        """How long it lives after a renewal; `usual` where the record does not say."""
        return Seconds(min(LONGEST_DURATION, float(self.spec.lease_duration_seconds or usual)))

    def written(self, term: Term, renewed: Instant) -> bytes:
        """The object's JSON with this term in it and the resourceVersion as read."""
        spec = {
            **(self.whole.get("spec") or {}),
            "holderIdentity": term.holder,
            "leaseDurationSeconds": max(1, round(term.duration)),
            "acquireTime": rfc3339_micro(term.acquired),
            "renewTime": rfc3339_micro(renewed),
            "leaseTransitions": term.epoch,
        }
        return msgspec.json.encode({**self.whole, "spec": spec})
