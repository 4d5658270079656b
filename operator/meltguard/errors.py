"""Two kinds of error, by who must act."""

from meltguard.core.units import Seconds


class MeltguardError(Exception):
    """Anything this package refuses; its text names what, why and the next step."""


class InvalidInput(MeltguardError):
    """A person must act: a spec, document, flag or file is wrong. Trying again does not help."""


class Unavailable(MeltguardError):
    """Something outside did not answer. Trying again may help."""

    def __init__(self, what: str, retry_after: Seconds = Seconds(1.0)) -> None:
        super().__init__(what)
        self.retry_after = retry_after


class Fenced(MeltguardError):
    """The API server refused a write because another leader holds a later epoch: stop at once."""


class Conflict(MeltguardError):
    """The object is not as it was read: read it again, then decide again."""
