"""The ladder's order, each step kept and broken."""

from collections.abc import Sequence
from typing import Any

import pytest

from meltguard.demo.check.ladder import ladder
from meltguard.demo.check.order import out_of_order
from meltguard.demo.check.policy import told
from support.demo_evidence import OURS
from support.demo_runs import BORROWS, FREE_DELAYED, FREE_REJECTED, HELD, NORMAL, ON_LEVEL, PRESSED, status_write

SUSPENDED = [{"tier": "free", "state": "Suspend", "rate": "0.0/m"}]
DELAYED: dict[str, Any] = {**HELD, "limits": FREE_DELAYED}
PLUS_TOO = [*FREE_REJECTED, {"tier": "plus", "state": "Delay", "rate": "9/m"}]
CRITICAL: dict[str, Any] = {**PRESSED, "level": "Critical", "limits": SUSPENDED}


def found(*statuses: dict[str, Any]) -> Sequence[str]:
    """What is out of order where these statuses are told, one a second."""
    writes = [status_write(float(at), status) for at, status in enumerate(statuses)]
    seen = told(writes, "image-gen")
    return out_of_order(ladder(seen, writes, (OURS, "research")), seen, ON_LEVEL)


IN_ORDER = {
    "step by step and back": (NORMAL, HELD, DELAYED, PRESSED, CRITICAL, PRESSED, DELAYED, HELD, NORMAL),
    "all in one decision": (NORMAL, DELAYED, NORMAL),
    "a crowd that lifts the level by two skips the delay": (NORMAL, {**PRESSED, "loanCount": 0}, DELAYED, NORMAL),
    "a person suspends at any level": (NORMAL, DELAYED, {**DELAYED, "limits": SUSPENDED, "overrides": [{"sets": "x"}]}),
    "a node on loan, and its rule says no": (NORMAL, {**DELAYED, "decision": {"rules": []}, "loanCount": 1}),
    "a higher tier after the lower": (NORMAL, DELAYED, PRESSED, {**PRESSED, "limits": PLUS_TOO}),
    "no limit at all": (NORMAL, HELD, NORMAL),
}
OUT_OF_ORDER: dict[str, tuple[tuple[dict[str, Any], ...], str]] = {
    "the feature after the tier": (
        (NORMAL, {**DELAYED, "features": []}, DELAYED),
        "free was limited before the feature was slowed",
    ),
    "updates after the tier": (
        (NORMAL, {**DELAYED, "rollouts": {"state": "Free"}}, DELAYED),
        "free was limited before updates were held",
    ),
    "updates never": (
        (NORMAL, {**DELAYED, "rollouts": {"state": "Free"}}),
        "free was limited before updates were held",
    ),
    "a limit where nothing is borrowed": (
        (NORMAL, {**DELAYED, "decision": {"rules": [{**BORROWS, "holds": False}]}}),
        "a tier was limited at pressure 1.10, at which no node is borrowed",
    ),
    "a higher tier first": (
        (NORMAL, {**HELD, "limits": [{"tier": "plus", "state": "Delay", "rate": "9/m"}]}, DELAYED),
        "plus was limited before free",
    ),
    "refused while the level delays": (
        (NORMAL, {**HELD, "limits": FREE_REJECTED}),
        "free was at Reject while level Elevated asks for Delay",
    ),
    "suspended while the level refuses": (
        (NORMAL, {**PRESSED, "limits": SUSPENDED}),
        "free was at Suspend while level Overloaded asks for Reject",
    ),
    "a tier that names no level is only delayed": (
        (NORMAL, PRESSED, {**PRESSED, "limits": [*FREE_REJECTED, {"tier": "pro", "state": "Reject", "rate": "9/m"}]}),
        "pro was at Reject while level Overloaded asks for Delay",
    ),
    "two levels down at once": ((NORMAL, PRESSED, NORMAL), "the level fell from Overloaded to Normal at once"),
}


@pytest.mark.parametrize("statuses", IN_ORDER.values(), ids=IN_ORDER)
def test_measures_in_order_are_found_in_order(statuses: tuple[dict[str, Any], ...]) -> None:
    assert found(*statuses) == ()


@pytest.mark.parametrize(("statuses", "sentence"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER)
def test_a_measure_out_of_order_is_found(statuses: tuple[dict[str, Any], ...], sentence: str) -> None:
    assert found(*statuses) == (sentence,)
