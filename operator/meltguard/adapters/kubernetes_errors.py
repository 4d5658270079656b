"""The one place that turns an API server's refusal into an error of ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from meltguard.core.units import Seconds
from meltguard.errors import Conflict, Fenced, InvalidInput, MeltguardError, Unavailable

FENCE: Final = "meltguard-fence"
"""What the chart's admission policies say first when they refuse a write of another epoch."""

ADMISSION: Final = "ValidatingAdmissionPolicy"
"""What the API server says first when any such policy refuses a write."""

DEFAULT_RETRY: Final = Seconds(1.0)
AT_ONCE: Final = Seconds(0.1)
LONGEST_RETRY: Final = Seconds(60.0)
LONGEST_TEXT: Final = 500


class Missing(Conflict):
    """The object of a write is gone, or was never there."""


class Expired(Unavailable):
    """The API server no longer has that resourceVersion (410): list again."""


class NotServed(Unavailable):
    """The API server serves no such kind: nobody has installed it."""


class Cause(msgspec.Struct, frozen=True):
    """One entry of a refusal's details."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True, rename="camel"):
    """What a refusal says about its object."""

    name: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] | None = None
    retry_after_seconds: float = 0.0


class Status(msgspec.Struct, frozen=True):
    """Kubernetes' own error object."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer of 400 and above."""

    doing: str  # verb and path, for people; it never holds a token
    code: int
    headers: Mapping[str, str]
    status: Status

    @property
    def said(self) -> str:
        """The server's own words, with the causes that it lists."""
        details = self.status.details
        message = self.status.message or f"HTTP {self.code}"
        causes = [cause.message for cause in (details.causes if details and details.causes else ())]
        words = " ".join([message, *(cause for cause in causes if cause not in message)])
        return words if len(words) <= LONGEST_TEXT else words[:LONGEST_TEXT] + "..."

    @property
    def retry_after(self) -> Seconds:
        """How long the server asks us to wait; a second where it does not say."""
        details = self.status.details
        asked = _seconds(self.headers.get("Retry-After", "")) or (details.retry_after_seconds if details else 0.0)
        return Seconds(min(LONGEST_RETRY, asked)) if asked > 0 else DEFAULT_RETRY


def read_status(body: bytes) -> Status:
    """The Status in an error's body; a proxy's or unknown path's text becomes a Status without kind."""
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Status(message=body[:LONGEST_TEXT].decode(errors="replace").strip())


def error_of(refusal: Refusal) -> MeltguardError:
    """The error that a refusal means to our callers."""
    if refusal.code in {403, 422} and FENCE in refusal.status.message:
        return Fenced(f"{refusal.doing}: {refusal.said}")
    if refusal.code in MEANINGS:
        return MEANINGS[refusal.code](refusal)
    if refusal.code < 500:  # noqa: PLR2004 - where the server's own errors begin
        return InvalidInput(f"{refusal.doing}: HTTP {refusal.code}: {refusal.said}")
    return Unavailable(f"{refusal.doing}: HTTP {refusal.code}: {refusal.said}", refusal.retry_after)


def _unauthorized(refusal: Refusal) -> MeltguardError:
    return Unavailable(
        f"{refusal.doing}: the API server does not accept our credentials; "
        "check the ServiceAccount's token or the kubeconfig's user"
    )


def _forbidden(refusal: Refusal) -> MeltguardError:
    if ADMISSION in refusal.status.message:
        return InvalidInput(f"{refusal.doing}: refused by an admission policy: {refusal.said}")
    return Unavailable(f"{refusal.doing}: forbidden: grant it in the chart's RBAC ({refusal.said})")


def _conflict(refusal: Refusal) -> MeltguardError:
    return Conflict(f"{refusal.doing}: {refusal.said}; read it again")


def _expired(refusal: Refusal) -> MeltguardError:
    return Expired(f"{refusal.doing}: {refusal.said}; list again", AT_ONCE)


def _throttled(refusal: Refusal) -> MeltguardError:
    return Unavailable(f"{refusal.doing}: told to wait: {refusal.said}", refusal.retry_after)


def _missing(refusal: Refusal) -> MeltguardError:
    details = refusal.status.details
    if details is not None and details.name:
        return Missing(f"{refusal.doing}: {refusal.said}")
    return NotServed(
        f"{refusal.doing}: the API server does not serve this resource ({refusal.said}); "
        "install the CustomResourceDefinitions, or check its apiVersion and kind"
    )


def _unprocessable(refusal: Refusal) -> MeltguardError:
    """A failed `test` of a JSON patch has no causes; what a schema or an admission policy refuses is our mistake.

    But another uid than the patch names is another object, not a mistake.
    """
    details = refusal.status.details
    fields = {cause.field for cause in (details.causes if details and details.causes else ())}
    if ADMISSION in refusal.status.message or fields - {"metadata.uid"}:
        return InvalidInput(f"{refusal.doing}: {refusal.said}")
    return Conflict(f"{refusal.doing}: {refusal.said}: it is not as it was read; read it again")


def _seconds(text: str) -> float:
    """Retry-After in seconds; its date form, which Kubernetes never sends, counts as not given."""
    try:
        return float(text)
    except ValueError:
        return 0.0


MEANINGS: Final[Mapping[int, Callable[[Refusal], MeltguardError]]] = {
    401: _unauthorized,
    403: _forbidden,
    404: _missing,
    408: _throttled,
    409: _conflict,
    410: _expired,
    422: _unprocessable,
    429: _throttled,
}
"""Codes with a meaning of their own; any other below 500 is our mistake, any from 500 the server's trouble."""
