"""Claims on ann's allowance, as an agent makes them, and their endings."""

from meltguard.agent.quota_store import AccountKey, Ending, Settlement, SpanClaim, SpanSeen
from meltguard.clock import SystemClock
from meltguard.core.quota import Claim, Span
from meltguard.core.units import Instant, Seconds

ANN = AccountKey(policy="serving/image-gen", tier="free", user="ann")


def a_claim(request: str, account: AccountKey = ANN, **changes: object) -> SpanClaim:
    """One image of three a day, held for a minute."""
    now = SystemClock().now()
    fields = {"images": 1, "limit": 3, "hold_for": Seconds(60.0), **changes}
    return SpanClaim(
        account=account,
        claim=Claim(request=request, **fields),  # type: ignore[arg-type]
        span=Span(start=Instant(now - 100), end=Instant(now + 100)),
        new_id=f"span-of-{request}",
        seen=None,
    )


def ending_of(claim: SpanClaim, span: SpanSeen | None, ending: Ending) -> Settlement:
    """How a claim that was granted ends."""
    assert span is not None
    return Settlement(
        account=claim.account,
        span=span.id,
        request=claim.claim.request,
        images=claim.claim.images,
        ending=ending,
        attempt=claim.claim.attempt,
    )
