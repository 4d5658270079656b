"""The fleet of a scale run: lenders with busy and idle nodes, services that serve, budgets and Jobs around the work."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from faults import world
from faults.rest import Admin
from meltguard.adapters.kubernetes_list import read_all
from meltguard.errors import Unavailable

Object = dict[str, Any]
T = TypeVar("T")

SERVICES: Final = ("portraits", "posters", "sketches", "textures")
LENDERS: Final = {"research": 12, "batch": 8}
"""Pools that lend, and how many nodes each lends at most: together twenty."""

ASKED: Final = 8
"""Loans that each service may have: together more than the lenders give, so that their bounds are what binds."""

FLOOR: Final = 10
BATCH_SHARE: Final = 3
"""Each third node is of the pool `batch`."""

IDLE_EACH: Final = 10
"""Each tenth lending node runs nothing that a loan would break off."""

TEAM: Final = 50
"""Lending nodes of each team, which has one disruption budget."""

ATTEMPTS: Final = 3

WRITERS: Final = 24
"""Requests at a time while a fleet is made."""

KEPT_AWAY: Final = "bench.example.com/scale"
"""Who controls the Jobs here: not the Job controller, so that their pods run on the nodes that this file says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a fleet is."""

    nodes: int  # in all
    servers: int  # of these, nodes that serve, each with one pod

    @property
    def each(self) -> int:
        """Serving pods of each service."""
        return self.servers // len(SERVICES)

    @property
    def lending(self) -> int:
        """Nodes of the lenders."""
        return self.nodes - self.servers


def fleet_nodes(size: Size) -> Iterator[Object]:
    """All nodes."""
    for number in range(size.servers):
        yield world.a_node(f"server-{number:05}", "inference")
    for number in range(size.lending):
        yield world.a_node(lender_node(number), pool_of(number))


def lender_node(number: int) -> str:
    """A lending node's name."""
    return f"lender-{number:05}"


def pool_of(number: int) -> str:
    """The pool of a lending node."""
    return "batch" if number % BATCH_SHARE == 0 else "research"


def is_busy(number: int) -> bool:
    """Whether a lending node runs a Job."""
    return number % IDLE_EACH != 0


def jobs(size: Size) -> Iterator[Object]:
    """One for each busy lending node."""
    for number in range(size.lending):
        if is_busy(number):
            made = world.a_job(lender_node(number), f"train-{number:05}")
            made["spec"] |= {"managedBy": KEPT_AWAY, "parallelism": 2, "completions": 2}
            yield made


def budgets(size: Size) -> Iterator[Object]:
    """One for each team."""
    for team in range(-(-size.lending // TEAM)):
        yield {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": f"team-{team}", "namespace": world.RESEARCH},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"team": f"team-{team}"}}},
        }


def pods(size: Size, job_uids: Mapping[str, str]) -> Iterator[Object]:
    """On each lending node a static pod's shadow, which stays; on the busy ones two pods of a Job beside it."""
    for number in range(size.lending):
        node = lender_node(number)
        yield _static(node)
        if is_busy(number):
            job = f"train-{number:05}"
            yield from (_working(node, f"{job}-{pod}", (job, job_uids[job]), number // TEAM) for pod in range(2))


def _static(node: str) -> Object:
    made = world.a_pod(f"exporter-{node}", node, annotations={"kubernetes.io/config.mirror": "scale"})
    made["spec"]["automountServiceAccountToken"] = False
    return made


def _working(node: str, name: str, job: tuple[str, str], team: int) -> Object:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job[0], "uid": job[1], "controller": True}
    labels = {"team": f"team-{team}", "batch.kubernetes.io/job-name": job[0]}
    made = world.a_pod(name, node, labels=labels, ownerReferences=[owner])
    made["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": str(world.GPUS // 2)}}
    return made


def pools() -> list[Object]:
    """Two lend, one borrows."""
    return [world.a_pool("inference", {}), *(_lender(name, most) for name, most in LENDERS.items())]


def _lender(name: str, most: int) -> Object:
    lending = {
        "floor": FLOOR,
        "maxLoans": most,
        "maxLoanDuration": "1h",
        "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
        "eviction": {"notice": "1s", "minimumRuntime": "0s", "deadline": "60s"},
    }
    return world.a_pool(name, {"lending": lending})


def services(size: Size) -> Iterator[Object]:
    """A Deployment and a policy for each."""
    for name in SERVICES:
        deployment = world.deployment(name)
        deployment["spec"]["replicas"] = size.each
        yield deployment
        policy = world.a_policy(world.Shape(max_loans=ASKED), name=name, service=name)
        policy["spec"]["capacity"] |= {"borrowFrom": list(LENDERS), "returnAfter": "4s"}
        yield policy


async def make(admin: Admin, size: Size) -> None:
    """The whole fleet but the policies' operator: nodes first, then what runs on them."""
    await each(fleet_nodes(size), admin.create)
    await each([*pools(), *budgets(size)], admin.apply)
    await each(jobs(size), admin.create)
    found = await listed(admin, f"/apis/batch/v1/namespaces/{world.RESEARCH}/jobs")
    uids = {one["metadata"]["name"]: one["metadata"]["uid"] for one in found}
    await each(pods(size, uids), admin.create)
    await each(services(size), admin.apply)


async def each(things: Iterable[T], act: Callable[[T], Awaitable[object]]) -> None:
    """Do it with all of them, WRITERS at a time; what the server was too busy for is tried again."""
    left = iter(things)

    async def worker() -> None:
        for one in left:
            await _patiently(act, one)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(worker())


async def _patiently(act: Callable[[T], Awaitable[object]], one: T) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await act(one)
        except Unavailable as exc:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(exc.retry_after)
        else:
            return


async def listed(admin: Admin, path: str) -> list[Object]:
    """All objects of a path, by pages."""
    return (await read_all(admin.api, path, _decoded)).items


def _decoded(raw: msgspec.Raw) -> Object:
    return msgspec.json.decode(raw, type=dict[str, Any])
