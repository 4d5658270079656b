"""Which document an agent obeys. A state machine: times are arguments, nothing is read or written."""

from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

from meltguard.agent.calendar import zone_offset
from meltguard.agent.settings import Pace, PolicyKey
from meltguard.agent.standing import RAMP_STEP, Standing, baseline_limits, by_tier, own_gpu
from meltguard.api.agent_report import LimitSource
from meltguard.api.limit_document import LEASE_TTL_SECONDS, DocumentKind, LimitDocument
from meltguard.core.units import Instant, PodUid, Seconds, Share, TierName
from meltguard.errors import InvalidInput

REPLAY_WINDOW: Final = Seconds(60.0)


class DocumentRefused(InvalidInput):
    """A document that this agent does not take."""

    def __init__(self, status: HTTPStatus, name: str, value: object, fix: str) -> None:
        super().__init__(f"{name} is {value}: {fix}")
        self.status, self.name, self.value, self.fix = status, name, value, fix


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The newest document seen; nothing older counts."""

    policy_uid: str = ""
    epoch: int = 0
    revision: int = 0
    issued_at: Instant = Instant(0.0)

    def passes(self, document: LimitDocument) -> bool:
        """Whether the document is as new. A policy that was deleted and made anew counts from the start."""
        if document.policy.uid != self.policy_uid:
            return document.issued_at >= self.issued_at
        return (document.epoch, document.revision) >= (self.epoch, self.revision)

    @classmethod
    def of(cls, document: LimitDocument) -> "Mark":
        """The mark that a document sets."""
        return cls(
            policy_uid=document.policy.uid,
            epoch=document.epoch,
            revision=document.revision,
            issued_at=Instant(document.issued_at),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What must outlive the process, so that an old document stays old."""

    lease: Mark = field(default_factory=Mark)
    baseline: Mark = field(default_factory=Mark)
    baseline_from: Instant = Instant(0.0)  # only baselines issued later count: the policy was released or observes


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """For whom documents must be."""

    policy: PolicyKey
    pod_uid: PodUid
    default_tier: TierName


@dataclass(frozen=True, slots=True)
class _Lease:
    document: LimitDocument
    until: Seconds


class Documents:
    """The lease and the baseline, and which of them holds."""

    def __init__(self, identity: Identity, pace: Pace, remembered: Remembered, at: Seconds) -> None:
        self._identity, self._pace = identity, pace
        self.remembered = remembered
        self._lease: _Lease | None = None
        self._baseline: LimitDocument | None = None
        self._unleased_since = at

    def take(self, document: LimitDocument, now: Instant, at: Seconds) -> None:
        """Obey a lease document from now on.

        Raises:
            DocumentRefused: it is for another pod or policy, too old, or not a lease.
        """
        self._check_lease(document, now)
        self.remembered = replace(self.remembered, lease=Mark.of(document), baseline_from=_baseline_from(document))
        if document.kind is DocumentKind.RELEASED:
            self._lease = None
            return
        ttl = LEASE_TTL_SECONDS if document.ttl is None else document.ttl
        self._lease = _Lease(document, Seconds(at + ttl))
        self._unleased_since = self._lease.until

    def take_baseline(self, document: LimitDocument) -> None:
        """Fall back to this baseline from now on. Raises as `take` does."""
        if document.kind is not DocumentKind.BASELINE:
            raise DocumentRefused(HTTPStatus.BAD_REQUEST, "kind", document.kind, "a baseline file bears kind Baseline")
        self._check_policy(document)
        if not self.remembered.baseline.passes(document):
            raise DocumentRefused(HTTPStatus.CONFLICT, "revision", document.revision, "a newer baseline was seen")
        self.remembered = replace(self.remembered, baseline=Mark.of(document))
        self._baseline = document

    def standing(self, at: Seconds) -> Standing:
        """What holds now."""
        if self._lease is not None and at < self._lease.until:
            return self._leased(self._lease)
        if self._baseline is not None and self._counts(self._baseline):
            return self._on_baseline(self._baseline, at)
        return own_gpu(self._identity.default_tier, self._pace)

    def _counts(self, baseline: LimitDocument) -> bool:
        """Whether the baseline is of the policy that leased last, or newer than its leases, and not given up."""
        last = self.remembered.lease
        current = baseline.policy.uid == last.policy_uid or baseline.issued_at >= last.issued_at
        return current and baseline.issued_at > self.remembered.baseline_from

    def _leased(self, lease: _Lease) -> Standing:
        tiers, fallback = by_tier(lease.document.tiers, self._identity.default_tier, self._pace)
        return Standing(
            source=LimitSource.LEASE,
            tiers=tiers,
            fallback=fallback,
            policy=lease.document.policy,
            epoch=lease.document.epoch,
            revision=lease.document.revision,
            features=lease.document.features,
            slowed=lease.document.slowed,
            level=lease.document.level,
            heat=Share(lease.document.heat),
            observing=lease.document.kind is DocumentKind.OBSERVE,
            until=lease.until,
            lease_until=lease.until,
        )

    def _on_baseline(self, document: LimitDocument, at: Seconds) -> Standing:
        waited = Seconds(max(0.0, at - self._unleased_since))
        limits = baseline_limits(document, waited, self._pace)
        tiers, fallback = by_tier(limits, self._identity.default_tier, self._pace)
        return Standing(
            source=LimitSource.BASELINE,
            tiers=tiers,
            fallback=fallback,
            policy=document.policy,
            epoch=document.epoch,
            revision=document.revision,
            features=document.features,
            level=document.level,
            until=self._next_step(waited, at),
        )

    def _next_step(self, waited: Seconds, at: Seconds) -> Seconds | None:
        if waited < self._pace.baseline_hold:
            return Seconds(self._unleased_since + self._pace.baseline_hold)
        ramping = waited < self._pace.baseline_hold + self._pace.baseline_ramp
        return Seconds(at + min(RAMP_STEP, self._pace.baseline_ramp / 10)) if ramping else None

    def _check_lease(self, document: LimitDocument, now: Instant) -> None:
        if document.kind is DocumentKind.BASELINE:
            fix = "a baseline comes through its file; push Enforce, Observe or Released"
            raise DocumentRefused(HTTPStatus.BAD_REQUEST, "kind", document.kind, fix)
        if document.pod_uid != self._identity.pod_uid:
            fix = f"this is pod {self._identity.pod_uid}; read the pod's address again"
            raise DocumentRefused(HTTPStatus.FORBIDDEN, "podUid", document.pod_uid, fix)
        self._check_policy(document)
        if not self.remembered.lease.passes(document):
            self._refuse_old(document)
        if abs(now - document.issued_at) > REPLAY_WINDOW:
            fix = f"it is {now:.0f} here and {REPLAY_WINDOW:.0f} s are borne; sign anew, compare the clocks"
            raise DocumentRefused(HTTPStatus.CONFLICT, "issuedAt", f"{document.issued_at:.0f}", fix)

    def _refuse_old(self, document: LimitDocument) -> None:
        seen = self.remembered.lease
        fix = f"epoch {seen.epoch}, revision {seen.revision} of policy uid {seen.policy_uid} was seen; go on from there"
        raise DocumentRefused(HTTPStatus.CONFLICT, "revision", f"{document.epoch}.{document.revision}", fix)

    def _check_policy(self, document: LimitDocument) -> None:
        named = PolicyKey(document.policy.namespace, document.policy.name)
        if named != self._identity.policy:
            raise DocumentRefused(HTTPStatus.FORBIDDEN, "policy", named, f"this agent obeys {self._identity.policy}")
        names = [tier.name for tier in document.tiers]
        if len(set(names)) < len(names):
            raise DocumentRefused(HTTPStatus.BAD_REQUEST, "tiers", ", ".join(names), "name each tier once")
        for tier in document.tiers:
            if tier.quota is not None and zone_offset(tier.quota.time_zone) is None:
                fix = "write an IANA name such as UTC or Europe/Zurich"
                where = f"tiers.{tier.name}.quota.timeZone"
                raise DocumentRefused(HTTPStatus.BAD_REQUEST, where, tier.quota.time_zone, fix)


def _baseline_from(document: LimitDocument) -> Instant:
    """An enforcing policy's baseline always counts; a released or observing one's only if it is issued anew."""
    return Instant(0.0) if document.kind is DocumentKind.ENFORCE else Instant(document.issued_at)
