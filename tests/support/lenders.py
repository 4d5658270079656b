"""Two lenders of unlike size and a service that wants a node now and then, at the pace of the law.

What each lender bore is worked out from the audit log, never from our books.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from faults import world
from faults.evidence import Node, read_deeds
from faults.fast_clock import FastClock
from faults.ground import Ground, Operators, ground
from faults.replay import NodeStep, node_steps
from faults.rest import path_of
from faults.scenario import CALM
from faults.setting import Setting
from meltguard.clock import SystemClock
from meltguard.core.units import Instant
from meltguard.localcluster.plane import Plane
from support.eventually import eventually
from support.overload import until

RATE: Final = 15.0
"""A law's minute takes four seconds."""

FLOORS: Final[Mapping[str, int]] = {"research": 1, "lab": 4}
NODES: Final[Mapping[str, int]] = {"research": 3, "lab": 6}
"""Of the same kind; two of each may be lent."""

SHAPE: Final = world.Shape(max_loans=1, max_loan="12h")
"""One loan at a time, unless a test allows more: on this clock a pod's start seems so long that its node counts as
late, and another would be taken beside it."""

WITHIN: Final = 60.0
LONG: Final = 300.0
"""Of the law's seconds: how long a surge lasts, beside which a node's way home is short."""


def a_lender(name: str) -> dict[str, Any]:
    """Lends idle nodes to serving."""
    borrowers = {"namespaceSelector": {"matchLabels": {"team": "serving"}}}
    lending = {"floor": FLOORS[name], "maxLoans": 4, "maxLoanDuration": SHAPE.max_loan, "borrowers": borrowers}
    return world.a_pool(name, {"lending": lending})


def a_policy() -> dict[str, Any]:
    """Borrows from both."""
    made = world.a_policy(SHAPE)
    made["spec"]["capacity"] |= {"borrowFrom": list(FLOORS), "returnAfter": "20s"}
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """A node's time away, by the audit log."""

    home: str
    claimed_at: Instant
    lent_at: Instant | None = None
    back_at: Instant | None = None

    def hours(self, now: Instant) -> float:
        """For which the borrower had had it then."""
        if self.lent_at is None or self.lent_at > now:
            return 0.0
        return (min(now, self.back_at or now) - self.lent_at) / 3600.0


def loans_in(steps: Sequence[NodeStep]) -> list[Loan]:
    """In the order of their claims."""
    away: dict[str, Loan] = {}
    back: list[Loan] = []
    for step in steps:
        at, claim = Instant(step.deed.at), step.after.claim if step.after is not None else None
        if claim is None:
            ended = away.pop(step.name, None)
            back += [] if ended is None else [replace(ended, back_at=at)]
            continue
        loan = away.setdefault(step.name, Loan(home=str(claim["home"]), claimed_at=at))
        if claim["step"] == "Lent" and loan.lent_at is None:
            away[step.name] = replace(loan, lent_at=at)
    return sorted([*back, *away.values()], key=_when)


def _when(loan: Loan) -> Instant:
    return loan.claimed_at


def burden(loans: Sequence[Loan], home: str, now: Instant) -> float:
    """Hours that each of a lender's nodes was away until then."""
    return sum(loan.hours(now) for loan in loans if loan.home == home and loan.claimed_at < now) / NODES[home]


@dataclass(frozen=True, slots=True)
class Lenders:
    """The two, the service, and its operator on a fast clock."""

    found: Ground
    clock: FastClock
    before: Mapping[str, Node]
    offset: int

    def loans(self) -> list[Loan]:
        """All until now."""
        log = self.found.plane.audit_log
        deeds = [self.clock.read(deed) for deed in read_deeds(log, self.offset)]
        return loans_in(tuple(node_steps(self.before, deeds)))

    async def lent(self) -> Counter[str]:
        """Nodes that serve, by their homes; a node on its way counts as one of "nobody"."""
        claims = (await Setting(self.found).claims()).values()
        return Counter(str(claim["home"]) if claim["step"] == "Lent" else "nobody" for claim in claims)

    async def status(self) -> dict[str, Any]:
        """The policy's."""
        return await self.found.admin.status(path_of(a_policy()))

    async def wait_for(self, **homes: int) -> None:
        """Return once so many of each serve, and no node is on its way."""

        async def serve() -> bool:
            return await self.lent() == homes

        await until(serve, WITHIN)

    async def allow(self, loans: int) -> None:
        """So many at a time."""
        await self.found.admin.merge(path_of(a_policy()), {"spec": {"capacity": {"maxLoans": loans}}})

    async def surge(self, demand: float) -> str:
        """For a while a node is missing; whose it was."""
        self.found.agents.ask(demand)
        await until(self._serves, WITHIN)
        ends = self.clock.now() + LONG
        await eventually(lambda: self.clock.now() >= ends, LONG / RATE)
        self.found.agents.ask(CALM)
        await self.wait_for()
        return self.loans()[-1].home

    async def _serves(self) -> bool:
        lent = await self.lent()
        return lent.total() == 1 and not lent["nobody"]

    async def recall(self, lender: str) -> Instant:
        """A person of the lender's wants all nodes back; when it was."""
        at = self.clock.now()
        await Setting(self.found).recall(lender, at)
        return at


@asynccontextmanager
async def two_lenders(plane: Plane, directory: Path) -> AsyncIterator[Lenders]:
    """A quiet day, until somebody asks."""
    clock = FastClock(began=SystemClock().now(), rate=RATE)
    async with ground(plane, Operators(directory=directory, clock=clock)) as found:
        names = {home: [f"{home}-turns-{number}" for number in range(count)] for home, count in NODES.items()}
        for home, nodes in names.items():
            for name in nodes:
                await found.admin.apply(world.a_node(name, home))
        for pool in (world.a_pool("inference", {}), *map(a_lender, FLOORS)):
            await found.admin.apply(pool)
        await until(lambda: Setting(found).is_set([name for nodes in names.values() for name in nodes]), WITHIN)
        offset, before = plane.audit_log.stat().st_size, await Setting(found).nodes()
        found.operator.open()
        await found.operator.up()
        found.agents.ask(CALM)
        await found.admin.apply(a_policy())
        yield Lenders(found, clock, before, offset)
