"""What a node must be like to be lent, whatever runs on it."""

from collections.abc import Callable
from typing import Final

from meltguard.core.fleet import OPT_OUT_ANNOTATION, NodeView

NodeRule = Callable[[NodeView], str]


def _unmanaged(node: NodeView) -> str:
    return "" if node.managed else "is not labelled meltguard.io/managed=true"


def _claimed(node: NodeView) -> str:
    if node.claim_problem:
        return f"bears an annotation that is no claim of ours: {node.claim_problem}"
    return "is already on loan" if node.claim else ""


def _not_ready(node: NodeView) -> str:
    return "" if node.ready else "is not Ready"


def _cordoned(node: NodeView) -> str:
    return "is cordoned by someone else" if node.unschedulable else ""


def _opted_out(node: NodeView) -> str:
    return f"is opted out by {OPT_OUT_ANNOTATION}" if node.annotations.get(OPT_OUT_ANNOTATION) == "true" else ""


def _under_upgrade(node: NodeView) -> str:
    return f"is under driver upgrade ({node.driver_upgrade})" if node.driver_upgrade else ""


def _goes(node: NodeView) -> str:
    return node.goes


def _sick(node: NodeView) -> str:
    return node.sick


def _without_gpus(node: NodeView) -> str:
    return "" if node.gpus > 0 else "shows no GPU to allocate"


NODE_RULES: Final[tuple[NodeRule, ...]] = (
    _unmanaged,  # the platform team's consent
    _claimed,  # no node has two takers
    _not_ready,
    _cordoned,  # someone is at work there
    _opted_out,
    _under_upgrade,
    _goes,  # a loan of it would end before it serves
    _without_gpus,
    _sick,  # a loan of it would serve nothing
)


def unfit(node: NodeView) -> str:
    """Why a node cannot be borrowed, as the end of a sentence that begins with its name; "" where it can.

    What runs on it is another question: `victims.BUSY_RULES`.
    """
    return next((why for rule in NODE_RULES if (why := rule(node))), "")
