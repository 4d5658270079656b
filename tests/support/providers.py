"""Providers for tests of the core: one in whatever state a test is about, and a whole made world of several."""

from dataclasses import dataclass, field, replace
from typing import Any

from meltguard.core.providers import Want, next_write, orders, overtaken, settled
from meltguard.core.purchases import Books, Provider, Scale, Stage, advanced, on_order
from meltguard.core.scaling import CalendarDay, Removal, Scaling
from meltguard.core.units import Gpus, Instant, Money, PoolName, Seconds
from support.core_values import a_node, a_pod, a_pool

DAY = 86_400.0


def calendar(at: Instant) -> CalendarDay:
    """Days of 24 hours, two of them a month."""
    number = int(at // DAY)
    return CalendarDay(day=f"2026-{number // 2 + 10:02d}-{number % 2 + 1:02d}", ends=Instant((number + 1) * DAY))


def a_scaling(**changes: Any) -> Scaling:
    """Terms: eight GPUs a node, 100 a day, 150 a month."""
    scaling = Scaling(
        api_version="example.com/v1",
        kind="NodeGroup",
        name="burst",
        namespace="machines",
        least=0,
        most=8,
        gpus_per_node=Gpus(8),
        arrive_within=Seconds(600.0),
        idle_after=Seconds(300.0),
        removal=Removal.NODE_MARK,
        refused_by="",
        per_day=Money(1000.0),
        per_month=Money(1500.0),
        time_zone="UTC",
    )
    return replace(scaling, **changes)


def a_provider(name: str = "burst", cost: float | None = 1.0, **changes: Any) -> Provider:
    """A provider that made nothing yet."""
    scaling = changes.pop("scaling", a_scaling())
    provider = Provider(
        pool=a_pool(name, cost=cost, scaling=scaling),
        scaling=scaling,
        books=Books(),
        members=(),
        uids=frozenset(),
        scale=Scale(wanted=0, present=0),
        now=Instant(1000.0),
        calendar=calendar,
    )
    return replace(provider, **changes)


def a_want(missing: int = 8, **changes: Any) -> Want:
    want = Want(
        policy="serving/image-gen",
        policy_uid="policy-uid",
        priority=1,
        missing=Gpus(missing),
        gpus_per_pod=Gpus(1),
        pools=frozenset({PoolName("burst"), PoolName("cloud")}),
        most=8,
        on_order=Gpus(0),
    )
    return replace(want, **changes)


@dataclass
class MadeProvider:
    """Plays one provider and the buyer over it: replicas become nodes, one pass after the other."""

    this: Provider
    made: int = 0
    wrong: list[str] = field(default_factory=list)  # nodes that were removed while someone needed them

    @property
    def on_order(self) -> Gpus:
        """What the policy knows of its orders."""
        return on_order(self.this.books, "policy-uid", self.this.scaling.gpus_per_node)

    def use(self, *, used: bool) -> None:
        """Whether serving pods run on the nodes; they have left those whose next hour is not paid."""
        unpaid = {one.uid for one in self.this.books.nodes if one.expiring or one.stage is not Stage.HERE}
        members = (
            replace(node, pods=(a_pod(),) if used and node.uid not in unpaid else ()) for node in self.this.members
        )
        self.this = replace(self.this, members=tuple(members))

    def step(self, seconds: float, *, delivers: bool) -> None:
        """Time goes by; the provider delivers what is missing, or not, and removes what is marked."""
        self._provide(delivers=delivers)
        now = Instant(self.this.now + seconds)
        this = replace(self.this, now=now, uids=frozenset(node.uid for node in self.this.members))
        this = advanced(replace(this, books=overtaken(this)))
        leaving = [one for one in this.books.nodes if one.stage is Stage.LEAVING and one.uid]
        idle = {node.uid for node in this.members if node.claim is None and not node.movable_pods}
        self.this = replace(this, verified=frozenset(one.id for one in leaving if one.uid in idle))

    def buy(self, want: Want | None) -> None:
        """What the buyer would do now, its write to the provider included."""
        name = self.this.pool.name
        this = orders([want] if want is not None else [], {name: self.this})[name]
        write = next_write(this)
        books = settled(replace(this.books, write=write))
        assert this.scale is not None
        scale = this.scale if write is None else replace(this.scale, wanted=write.after)
        self.this = replace(this, books=books, scale=scale)

    def _provide(self, *, delivers: bool) -> None:
        assert self.this.scale is not None
        scale, members = self.this.scale, list(self.this.members)
        going = {one.uid for one in self.this.books.nodes if one.stage is Stage.REMOVING}
        while len(members) > scale.wanted:
            marked = next((node for node in members if node.uid in going), None)
            if marked is None:
                self.wrong.append("a node that nobody marked would have to go")
                break
            members.remove(marked)
        if delivers and len(members) < scale.wanted:
            self.made += 1
            members.append(a_node(f"n{self.made}", "burst", created=self.this.now))
        present = replace(scale, present=scale.wanted)
        self.this = replace(self.this, members=tuple(members), scale=present)
