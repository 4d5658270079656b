"""What the scale bench judges by: bounds that are passed, nodes that differ, steps as they come."""

from collections import Counter

import msgspec
import pytest

from bench.scale_fleet import ASKED, FLOOR, LENDERS, SERVICES, Size, fleet_nodes, is_busy, jobs, pods, pool_of
from bench.scale_rows import judged
from bench.scale_run import Measured
from bench.scale_trail import CLAIM, Event, Trail

SIZE = Size(nodes=500, servers=160)


def an_event(node: str, step: str | None, home: str = "batch", policy: str = "serving/posters") -> Event:
    claim = msgspec.json.encode({"step": step, "home": home, "policy": policy}).decode()
    notes = {} if step is None else {CLAIM: claim}
    raw = {"type": "MODIFIED", "object": {"metadata": {"name": node, "annotations": notes}}}
    return msgspec.json.decode(msgspec.json.encode(raw), type=Event)


def a_trail(members: int = 100) -> Trail:
    return Trail(members=dict.fromkeys(LENDERS, members))


def test_a_loan_is_followed_until_its_claim_is_off() -> None:
    trail = a_trail()
    for step in ("Claimed", "Lent", "Lent", None):
        trail.take(an_event("n1", step))
    assert [one.step for one in trail.steps] == ["Claimed", "Lent", "Released"]
    assert (trail.claims, trail.over, trail.most["batch"]) == ({}, [], 1)


def test_a_node_without_a_claim_is_no_step() -> None:
    trail = a_trail()
    trail.take(an_event("n1", None))
    assert trail.steps == []


def test_a_pool_that_lends_more_than_it_may_is_told() -> None:
    trail = a_trail()
    for number in range(LENDERS["batch"] + 1):
        trail.take(an_event(f"n{number}", "Claimed", policy=f"serving/{number}"))
    assert trail.over == [f"{LENDERS['batch'] + 1} loans at a time of pool batch"]


def test_a_policy_that_has_more_than_it_may_is_told() -> None:
    trail = a_trail()
    for number in range(ASKED + 1):
        trail.take(an_event(f"n{number}", "Claimed", home=("research", "batch")[number % 2]))
    assert trail.over == [f"{ASKED + 1} loans at a time of policy serving/posters"]


def test_a_floor_that_is_not_kept_is_told() -> None:
    trail = a_trail(members=FLOOR)
    trail.take(an_event("n1", "Claimed"))
    assert trail.over == [f"{FLOOR - 1} nodes left at batch, its floor is {FLOOR}"]


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"lent": 19}, "nodesLent"),
        ({"over": ("21 loans",)}, "boundsPassed"),
        ({"changed": ("lender-1",)}, "nodesChanged"),
        ({"ends": 1}, "operatorEnded"),
        ({"failed": "not within 300 s"}, "cameToAll"),
    ],
)
def test_each_count_is_judged(broken: dict[str, object], name: str) -> None:
    good = {"size": SIZE, "lent": 20}
    assert all(row.met for row in judged(Measured(**good)))
    assert [row.name for row in judged(Measured(**{**good, **broken})) if not row.met] == [name]


def test_a_fleet_has_what_its_size_says() -> None:
    nodes = list(fleet_nodes(SIZE))
    of_pools = Counter(node["metadata"]["labels"]["workload"] for node in nodes)
    assert (len(nodes), of_pools["inference"], SIZE.each * len(SERVICES)) == (500, 160, 160)
    idle = Counter(pool_of(number) for number in range(SIZE.lending) if not is_busy(number))
    assert all(idle[name] >= most for name, most in LENDERS.items()), "enough idle nodes at each lender"


def test_each_busy_node_runs_its_job_and_each_lender_what_stays() -> None:
    uids = {job["metadata"]["name"]: f"uid of {job['metadata']['name']}" for job in jobs(SIZE)}
    made = list(pods(SIZE, uids))
    busy = sum(map(is_busy, range(SIZE.lending)))
    assert len(made) == SIZE.lending + 2 * busy
    owners = {pod["metadata"]["ownerReferences"][0]["uid"] for pod in made if "ownerReferences" in pod["metadata"]}
    assert owners == set(uids.values())
