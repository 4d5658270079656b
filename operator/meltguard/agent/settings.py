"""What an agent is told at its start, read once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from typing_extensions import override

from meltguard.agent.feature_paths import FeaturePaths
from meltguard.agent.server_words import ServerKind
from meltguard.agent.token_rules import TokenRules
from meltguard.api.signed import PublicKeys
from meltguard.core.lapsed import BASELINE_HOLD, BASELINE_RAMP
from meltguard.core.units import Gpus, PodUid, Seconds, TierName
from meltguard.errors import InvalidInput

MAX_PORT: Final = 65_535
DEFAULT_TIER: Final = TierName("default")
ONE_GPU: Final = Gpus(1)
CLIENT_BYTES: Final = 67_108_864  # beside an agent's own 72 MiB, in a container of 256


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `IP:port`, with brackets around an IPv6 address.

        >>> Address.parse("[::1]:9901")
        Address(host='::1', port=9901)
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdigit() or int(port) > MAX_PORT:
            raise InvalidInput(f"{text!r} is not an address: write IP:port, such as 10.0.0.7:8080")
        return cls(host.strip("[]"), int(port))


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """Which ImageServicePolicy an agent obeys."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "PolicyKey":
        """Read `namespace/name`."""
        namespace, slash, name = text.partition("/")
        if not slash or not namespace or not name or "/" in name:
            raise InvalidInput(f"{text!r} does not name a policy: write namespace/name, such as serving/image-gen")
        return cls(namespace, name)

    @override
    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """How to tell who calls."""

    trust_gateway: bool = False  # without it the headers below are anyone's words and are not read
    tokens: TokenRules | None = None  # with it tier and user come from tokens, and no such header is read
    tier_header: str = "x-meltguard-tier"
    user_header: str = "x-meltguard-user"
    made_header: str = "x-meltguard-delivered-images"  # of the image server's answer: so many of those asked were made
    feature_header: str = "x-meltguard-feature"  # anyone may name one: it only makes a request easier to refuse
    feature_paths: FeaturePaths = field(default_factory=FeaturePaths)  # those that a path tells, before any header
    default_tier: TierName = DEFAULT_TIER
    open_paths: frozenset[str] = frozenset({"/healthz", "/readyz", "/livez", "/health", "/metrics", "/v1/models"})
    peek_bytes: int = 1_048_576  # of a body, to see what it costs; pictures to be edited come with it
    assumed_images: int | None = None  # of a request whose body is not read whole; None: it is not known
    head_within: Seconds = Seconds(5.0)  # for a request's head to come
    openai_fields: bool = False  # answers bear x-ratelimit-* beside RateLimit
    body_within: Seconds = Seconds(10.0)  # for the bytes that are read ahead, or for a document
    read_within: Seconds = Seconds(60.0)  # for a client to read its answer after the image is made

    def __post_init__(self) -> None:
        if self.trust_gateway and self.tokens is not None:
            raise InvalidInput(
                "a caller is known by a gateway's headers or by tokens: give --trust-gateway or --tokens"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Times and bounds of the agent itself; a demo at another speed divides the times."""

    baseline_hold: Seconds = BASELINE_HOLD  # at the safe rates after a lease ended
    baseline_ramp: Seconds = BASELINE_RAMP  # from there to the tiers' maxima
    own_queue: int = 16  # per tier, where no document says
    own_max_wait: Seconds = Seconds(30.0)  # where no document says
    hard_queue: int = 1_024  # per tier, whatever a document says
    overload_wait: Seconds = Seconds(4.0)  # a predicted wait beyond this is told at once
    longest_image: Seconds = Seconds(600.0)  # a request that runs longer is ended: every wait has an end
    stop_within: Seconds = Seconds(30.0)  # for images in progress at a graceful stop
    tick: Seconds = Seconds(0.5)  # between looks at leases' ends and the baseline file


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAddress:
    """Where the store is and how it is trusted."""

    url: str  # redis://, rediss:// or unix://; with +cluster for a cluster
    ca_file: Path | None = None  # whose certificates are trusted; None: the system's
    cert_file: Path | None = None  # ours, where the store asks for one
    key_file: Path | None = None

    @property
    def shown(self) -> str:
        """The URL without its password."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def tls(self) -> dict[str, str]:
        """The files, as the client takes them."""
        files = {"ssl_ca_certs": self.ca_file, "ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        return {name: str(path) for name, path in files.items() if path is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSettings:
    """The shared store of quotas."""

    store: StoreAddress | None = None  # None: tiers with a quota are refused
    budget: Seconds = Seconds(0.05)  # for one answer
    probe_every: Seconds = Seconds(1.0)  # while it is down


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceBounds:
    """What places may cost."""

    after: Seconds | None = None  # every request that is not answered by then goes on at a place; None: who prefers it
    most: int = 512  # at once
    most_of_user: int = 32
    most_bytes: int = 33_554_432  # of one answer
    all_bytes: int = 67_108_864  # of all answers that are kept
    heard_within: Seconds = Seconds(60.0)  # a request whose client does not poll so often is given up
    kept_for: Seconds = Seconds(300.0)  # an answer that is not fetched
    peer_within: Seconds = Seconds(10.0)  # for a word of another pod that holds one; event streams say one each second


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLook:
    """How to read the queue of an image server that knows it."""

    kind: ServerKind
    url: str
    every: Seconds = Seconds(1.0)
    within: Seconds = Seconds(2.0)  # for one answer
    stale_after: Seconds = Seconds(5.0)  # then it is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionBounds:
    """Where a proxy only asks and its requests run elsewhere."""

    held_within: Seconds = Seconds(60.0)  # a slot whose request's end nobody tells
    secret: str | None = None  # that the proxy must know


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """One pod's agent."""

    policy: PolicyKey
    pod_uid: PodUid
    keys: PublicKeys
    listen: Address
    control: Address
    gpus: Gpus = ONE_GPU
    client_bytes: int = CLIENT_BYTES  # of all bodies read ahead and all answers not yet read
    baseline_file: Path | None = None
    state_file: Path | None = None
    journal: Path | None = None
    access_log: Path | None = None  # one JSON line a request
    journal_names_users: bool = False  # else the journal bears hashes
    callers: Callers = field(default_factory=Callers)
    pace: Pace = field(default_factory=Pace)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    places: PlaceBounds = field(default_factory=PlaceBounds)
    decisions: DecisionBounds = field(default_factory=DecisionBounds)
    server: ServerLook | None = None
