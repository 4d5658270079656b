"""Loans that a service planned ahead, by its calendar: what is asked before them, and how many are missing."""

from dataclasses import replace
from typing import Final

from meltguard.core.decision import Outcome, Shortage
from meltguard.core.fleet import HOMEWARD
from meltguard.core.loan_rules import (
    LOAN_RULES,
    LoanRule,
    agents_answer,
    loans_serve,
    nodes_are_watched,
    policy_has_room,
    service_has_rested,
)
from meltguard.core.units import Gpus


def calendar_asks(short: Shortage) -> Outcome:
    """What a person planned ahead needs no pressure, and no second signal."""
    return Outcome(rule="calendar asks", holds=short.missing > 0, text=short.seen.plan.why)


CALENDAR_RULES: Final[tuple[LoanRule, ...]] = (
    agents_answer,
    nodes_are_watched,
    calendar_asks,  # in place of all that speaks of demand
    policy_has_room,
    service_has_rested,
    loans_serve,
)


def rules_of(short: Shortage) -> tuple[LoanRule, ...]:
    """What is asked before anything is planned."""
    return CALENDAR_RULES if short.planned else LOAN_RULES


def planned_ahead(short: Shortage) -> Shortage | None:
    """The next node that the calendar asks for; None where as many as it asks for are lent, or on their way."""
    out = sum(node.claim is not None and node.claim.step not in HOMEWARD for node in short.seen.loans)
    sizes = [pool.pool.scaling.gpus_per_node for pool in short.seen.pools.values() if pool.pool.scaling]
    coming = -(-short.seen.on_order // min(sizes)) if sizes else 0
    if out + coming >= short.seen.plan.least:
        return None
    return replace(short, missing=Gpus(max(1, short.policy.gpus_per_pod)), planned=True)
