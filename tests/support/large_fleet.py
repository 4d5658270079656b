"""A fleet of any size: most of it busy, its Jobs on two nodes each, budgets and Jobs in proportion."""

from dataclasses import replace
from typing import Final

from meltguard.adapters.kubernetes_fleet import Joiner
from meltguard.core.arbiter import Wish
from meltguard.core.decision import Shortage
from meltguard.core.fleet import Budget, FleetView, Guards, NodeView, PodView
from meltguard.core.loans import choose_loans
from meltguard.core.policy import Eviction, Lending, OnDeadline, Source
from meltguard.core.pools import assign
from meltguard.core.service import Selector
from meltguard.core.units import Gpus, NodeName, PoolName, Seconds, Share
from support.core_values import a_job, a_node, a_pod, a_pool
from support.shortages import a_shortage

MOST: Final = 20
"""Loans that the lender gives, and that each service may have."""

EVICTION: Final = Eviction(
    notice=Seconds(60.0),
    minimum_runtime=Seconds(0.0),
    deadline=Seconds(600.0),
    on_deadline=OnDeadline.GIVE_UP,
    loses_local_data=False,
    fails_jobs=False,
)
LENDING: Final = Lending(
    floor=2,
    floor_share=Share(0.0),
    max_loans=MOST,
    max_duration=Seconds(3600.0),
    borrower_labels={},
    eviction=EVICTION,
)


def nodes_and_pods(count: int, idle_each: int = 0, **pod: object) -> tuple[list[NodeView], list[PodView]]:
    """So many lending nodes, two Job pods on each; of each `idle_each` of them one has none."""
    nodes = [a_node(f"n{number:05}") for number in range(count)]
    busy = [number for number in range(count) if not idle_each or number % idle_each]
    return nodes, [_pod(number, one, **pod) for number in busy for one in range(2)]


def _pod(number: int, one: int, **changes: object) -> PodView:
    job = f"train-{number // 2}"
    gang = {"owner_name": job, "owner_uid": f"{job}-uid", "gang": f"Job research/{job}"}
    name, labels = f"{job}-{number}-{one}", {"team": str(number // 50)}
    return a_pod(name, node=NodeName(f"n{number:05}"), gpus=Gpus(4), labels=labels, **gang, **changes)


def guards_of(count: int) -> Guards:
    """A Job for each two nodes, a budget for each fifty."""
    jobs = tuple(a_job(f"train-{number}", failures_left=6) for number in range(count // 2))
    return Guards(budgets=tuple(_budget(number) for number in range(count // 50)), jobs=jobs)


def _budget(number: int) -> Budget:
    selector = Selector(labels={"team": str(number)}, requirements=())
    return Budget(namespace="research", name=f"b{number}", uid=f"b{number}", selector=selector, allowed=9, never="")


def view_of(count: int, idle_each: int = 0, **pod: object) -> FleetView:
    """All of it, joined."""
    nodes, pods = nodes_and_pods(count, idle_each, **pod)
    return replace(Joiner().join(nodes, pods), guards=guards_of(count))


def shortage_on(view: FleetView) -> Shortage:
    """A service that lacks twenty nodes."""
    short = a_shortage(8 * MOST, (Source.BORROW,))
    pools = assign([a_pool("inference"), a_pool(lending=LENDING)], view.nodes)
    return replace(
        short,
        policy=replace(short.policy, gpus_per_pod=Gpus(8)),
        capacity=replace(short.capacity, borrow_from=(PoolName("research"),), max_loans=MOST),
        seen=replace(short.seen, pools=pools, guards=view.guards),
    )


def wishes_on(view: FleetView, count: int) -> list[Wish]:
    """So many services, each of which would take the same nodes."""
    short = shortage_on(view)
    plan, _ = choose_loans(short)
    policies = [replace(short.policy, name=f"p{number}", uid=f"p{number}") for number in range(count)]
    return [Wish(policy=policy, plan=plan, shortage=replace(short, policy=policy)) for policy in policies]
