"""One run under faults, as values: what fails in it, what is expected, what came of it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from faults import world
from faults.ground import Ground
from faults.promises import Finding, Promises
from faults.rest import path_of
from faults.rules import Rule, Write

OVERLOAD: Final = 21.0
"""Image units a second, of two pods of eight GPUs that do one a second each: one more node is needed."""

CALM: Final = 4.0
CONVERGES: Final = 60.0
"""Seconds: L1."""

LENDS: Final = 75.0
NODES: Final = "/api/v1/nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a case's meddlers have to work with."""

    ground: Ground
    run: str
    names: tuple[str, ...]  # the research nodes
    shape: world.Shape

    @property
    def policy(self) -> str:
        """Path of the policy."""
        return path_of(world.a_policy(self.shape))


Meddling = Callable[[Stage], Awaitable[str]]
"""What somebody else does; the text says what of Meltguard's part went wrong, "" where nothing did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run: what fails, and what is expected all the same."""

    name: str
    rules: Callable[[Stage], Sequence[Rule]]
    row: int = 0  # of the fault matrix
    shape: world.Shape = world.IDLE
    prepare: Meddling | None = None  # before the overload
    at_peak: Meddling | None = None  # when a node is lent and serves
    at_end: Meddling | None = None  # before the end state is looked at: clear up what the fault left
    demand: float = OVERLOAD
    lends: bool = True  # a loan must come about
    returns: bool = True  # and end
    exempt: Callable[[Stage], frozenset[str]] = lambda _: frozenset()  # nodes that somebody else changed for good
    adjust: Callable[[Promises], Promises] = lambda promises: promises
    converges: float = CONVERGES
    lends_within: float = LENDS
    fresh: bool = False  # with an operator that starts under the rules
    points: tuple[str, ...] = ()  # crash points that it shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    case: str
    row: int
    findings: tuple[Finding, ...]
    writes: tuple[Write, ...]
    strikes: int  # how often a fault struck; 0: the run proves nothing
    restarts: int
    seconds: float
    converged: float  # seconds from calm to the end state
    points: tuple[str, ...] = ()  # crash points that it showed

    @classmethod
    def ended_early(cls, case: Case, what: str) -> "Outcome":
        """A run that could not be judged: that counts as broken."""
        finding = Finding(invariant="L1", what=what)
        return cls(
            case=case.name,
            row=case.row,
            findings=(finding,),
            writes=(),
            strikes=0,
            restarts=0,
            seconds=0.0,
            converged=0.0,
        )
