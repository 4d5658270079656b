"""How a pod's owner asks to leave it alone: our own annotation, and those of other tools that people use already."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.api.quantities import parse_duration
from meltguard.core.fleet import KEEP_ANNOTATION
from meltguard.core.units import Seconds
from meltguard.errors import InvalidInput

KARPENTER: Final = "karpenter.sh/do-not-disrupt"
CLUSTER_AUTOSCALER: Final = "cluster-autoscaler.kubernetes.io/safe-to-evict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the owner asks."""

    why: str  # "" where nobody asks
    lasting: Seconds | None = None  # after the pod's start; None: for ever


NOT_ASKED: Final = Asked(why="")


def asked_to_keep(annotations: Mapping[str, str]) -> Asked:
    """What a pod's annotations ask for.

    >>> asked_to_keep({"karpenter.sh/do-not-disrupt": "30m"}).lasting
    1800.0
    """
    if annotations.get(KEEP_ANNOTATION) == "true":
        return _by(KEEP_ANNOTATION, "true")
    if annotations.get(CLUSTER_AUTOSCALER) == "false":
        return _by(CLUSTER_AUTOSCALER, "false")
    return _karpenter(annotations.get(KARPENTER, ""))


def _karpenter(text: str) -> Asked:
    """The text is true or a duration; what cannot be read is taken for a wish to stay."""
    if text in {"", "false"}:
        return NOT_ASKED
    try:
        lasting = None if text == "true" else parse_duration(text)
    except InvalidInput:
        lasting = None
    return _by(KARPENTER, text, lasting)


def _by(key: str, text: str, lasting: Seconds | None = None) -> Asked:
    return Asked(why=f'is to be left alone by annotation {key}: "{text}"; remove it to let the pod go', lasting=lasting)
