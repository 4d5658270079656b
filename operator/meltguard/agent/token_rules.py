"""Which signed tokens (JWT, RFC 7519) are believed, and what they say of their bearer: a file that people write."""

from pathlib import Path
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from meltguard.api.wire import SpecModel
from meltguard.core.units import Seconds, TierName
from meltguard.errors import InvalidInput

# By a private key only: with an HMAC everybody who can verify could sign, and "none" is nothing.
SIGNATURES: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_BYTES: Final = 65_536  # of the file

Text = Annotated[str, Field(min_length=1)]


class TokenRules(SpecModel):
    """One issuer's tokens."""

    keys: Text
    """The issuer's JWK set: an https URL, or a file."""
    ca_file: Path | None = None
    """Whose certificates are trusted at the URL, PEM; without it the system's."""
    issuer: Text
    """The tokens' `iss`."""
    audience: Text
    """In the tokens' `aud`: the name of this service at the issuer."""
    algorithms: frozenset[str] = frozenset({"RS256", "PS256", "ES256", "Ed25519"})
    user_claim: Text = "sub"
    """Who calls. `a.b` is b in a."""
    tier_claim: Text = "tier"
    """A text or a list of texts. `a.b` is b in a."""
    tiers: dict[str, TierName] = Field(default_factory=dict)
    """Tiers by the claim's value; the first listed that a token has counts. Without it the claim names the tier."""
    required: bool = False
    """Who has no good token is not served; else it is in the default tier."""
    passed_on: bool = False
    """Tokens go on to the image server, which could use them in their bearers' names."""
    leeway: Annotated[int, Field(ge=0, le=300)] = 30
    """Seconds that the issuer's clock and ours may differ."""
    most_bytes: Annotated[int, Field(ge=256, le=32_768)] = 8_192
    """Of a token; longer ones are not read."""
    refresh_every: Annotated[Seconds, Field(gt=0)] = Seconds(300.0)
    """Seconds. A key that the issuer took back counts no longer than this."""
    ask_again_after: Annotated[Seconds, Field(gt=0)] = Seconds(10.0)
    """Seconds. An unknown key, or a failure, has the set fetched no sooner."""

    @field_validator("algorithms")
    @classmethod
    def _signatures_only(cls, named: frozenset[str]) -> frozenset[str]:
        if not named or not named <= SIGNATURES:
            raise ValueError(f"choose of {', '.join(sorted(SIGNATURES))}: no other algorithm proves who signed")
        return named

    @model_validator(mode="after")
    def _keys_come_unchanged(self) -> Self:
        url = urlsplit(self.keys)
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise ValueError(f"keys from {self.keys} can be changed on their way: use https, or mount a file")
        return self

    @property
    def remote(self) -> bool:
        """Whether the keys are at a URL, not in a file."""
        return urlsplit(self.keys).scheme in {"http", "https"}

    @classmethod
    def read(cls, path: Path) -> Self:
        """The rules in a YAML file.

        Raises:
            InvalidInput: it cannot be read, or a rule is wrong.
        """
        try:
            with path.open("rb") as file:
                told = yaml.safe_load(file.read(MOST_BYTES))
            return cls.model_validate(told)
        except OSError as exc:
            raise InvalidInput(f"token rules {path} cannot be read: {exc}; name a file") from exc
        except yaml.YAMLError as exc:
            raise InvalidInput(f"token rules {path} are not YAML: {exc}") from exc
        except ValidationError as exc:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in exc.errors())
            raise InvalidInput(f"token rules {path} are wrong: {wrong}") from exc
