"""`kubectl meltguard recall` and `loans` against a real API server. No operator runs: nobody follows the orders."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from meltguard.api.claim import write_claim
from meltguard.api.recall import RECALL_ANNOTATION, read_recall
from meltguard.core.fleet import CLAIM_ANNOTATION, Drain
from meltguard.core.seen import RecallOrder
from meltguard.core.stopped import Stopped
from meltguard.core.units import GpuHours, Instant
from meltguard.localcluster.plane import Plane
from support.custom_resources import CustomResources, installed
from support.drain_world import EVICTION
from support.objects import a_pool_object
from support.operators import a_gpu_node, lend, seen
from support.plane import Kubectl

pytestmark = pytest.mark.plane

NODES = ("recall-1", "recall-2", "recall-3")


@pytest.fixture(scope="module")
def resources(plane: Plane, kubectl: Kubectl) -> CustomResources:
    return installed(plane, kubectl)


@pytest.fixture(autouse=True)
def lent(resources: CustomResources, kubectl: Kubectl) -> Iterator[None]:
    """Three nodes of pool research, two of them lent a minute ago."""
    for pool in ("research", "inference"):
        resources.apply(a_pool_object(pool)).must()
    for name in NODES:
        kubectl.apply(a_gpu_node(name, "research"))
    now = time.time()  # noqa: TID251 - what the operator's clock showed
    for number, name in enumerate(NODES[:2]):
        lend(kubectl, name, ("serving/image-gen", "uid"), (now - 60.0 + number, now + 3600.0))
    yield
    kubectl("delete", "node", *NODES)
    kubectl("delete", "gpool", "research", "inference")


def plugin(plane: Plane, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As kubectl finds it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(plane.kubeconfig)}
    command = [str(plane.binaries["kubectl"]), "meltguard", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)


def recall(plane: Plane, *arguments: str, wait: str = "0") -> subprocess.CompletedProcess[str]:
    return plugin(plane, "recall", "research", "--reason", "a deadline", "--timeout", wait, *arguments)


def order(kubectl: Kubectl) -> RecallOrder:
    """What the operator would read."""
    return read_recall(kubectl.read("gpool", "research")["metadata"]["annotations"][RECALL_ANNOTATION])


def means(kubectl: Kubectl, name: str) -> bool:
    node = seen(kubectl, name)
    return node.claim is not None and order(kubectl).means(node.name, node.claim)


def test_a_pool_recalls_all_that_it_has_lent(plane: Plane, kubectl: Kubectl) -> None:
    ran = recall(plane)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == (
        "to recall: recall-1 (lent to serving/image-gen), recall-2 (lent to serving/image-gen)\nordered\n"
    )
    assert order(kubectl).nodes == frozenset()
    assert means(kubectl, "recall-1")
    assert means(kubectl, "recall-2")
    assert "a deadline" in order(kubectl).reason


def test_an_order_means_no_loan_of_later(plane: Plane, kubectl: Kubectl) -> None:
    """Whatever this machine's clock shows: the order speaks in the time that the claims were written in."""
    assert recall(plane).returncode == 0
    lend(kubectl, "recall-3", ("serving/image-gen", "uid"), (order(kubectl).before + 1.0, 2e9))
    assert not means(kubectl, "recall-3")


def test_a_second_order_forgets_nothing_of_the_first(plane: Plane, kubectl: Kubectl) -> None:
    assert recall(plane, "--node", "recall-1").returncode == 0
    assert order(kubectl).nodes == {"recall-1"}
    assert recall(plane, "--node", "recall-2").returncode == 0
    assert means(kubectl, "recall-1")
    assert means(kubectl, "recall-2")


def test_an_order_that_was_followed_is_not_repeated(plane: Plane, kubectl: Kubectl) -> None:
    """The first node came home, and was lent again since."""
    assert recall(plane, "--node", "recall-1").returncode == 0
    kubectl("delete", "node", "recall-1")
    kubectl.apply(a_gpu_node("recall-1", "research"))
    lend(kubectl, "recall-1", ("serving/image-gen", "uid"), (order(kubectl).before + 100.0, 2e9))
    assert recall(plane, "--node", "recall-2").returncode == 0
    assert order(kubectl).nodes == {"recall-2"}
    assert not means(kubectl, "recall-1")


def test_an_order_that_nobody_can_read_is_replaced(plane: Plane, kubectl: Kubectl) -> None:
    kubectl("annotate", "gpool", "research", f"{RECALL_ANNOTATION}=now")
    assert recall(plane, "--node", "recall-2").returncode == 0
    assert order(kubectl).nodes == {"recall-2"}


def test_the_wait_has_an_end_and_says_what_is_next(plane: Plane) -> None:
    ran = recall(plane, "--node", "recall-1", wait="1.5")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[-1] == "recall-1: Lent"
    assert "not home yet: recall-1 (Lent, by 20" in ran.stderr
    assert "The order stands" in ran.stderr


def test_home_is_home(plane: Plane, kubectl: Kubectl) -> None:
    """The claim comes off while the command looks on."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(plane.kubeconfig), "PYTHONUNBUFFERED": "1"}
    command = [str(plane.binaries["kubectl"]), "meltguard", "recall", "research", "--reason", "x", "--timeout", "300"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(4)]
        assert lines[2:] == ["recall-1: Lent\n", "recall-2: Lent\n"]
        for name in NODES[:2]:
            kubectl("annotate", "node", name, f"{CLAIM_ANNOTATION}-")
        assert "recall-1: home" in running.stdout.read()
        assert running.wait(timeout=60) == 0


WRONG = {
    "no such pool": (
        ("recall", "reserch", "--reason", "x"),
        "there is no GPUPool reserch; there are: inference, research",
    ),
    "a node that is home": (
        ("recall", "research", "--node", "recall-3", "--reason", "x"),
        "recall-3: not on loan from pool research; on loan is recall-1, recall-2",
    ),
    "an endless reason": (("recall", "research", "--reason", "x" * 300), "--reason has 300 characters"),
    "no reason": (("recall", "research"), "--reason"),
    "no such pool to look at": (("loans", "reserch"), "there is no GPUPool reserch"),
}


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_input_writes_nothing(plane: Plane, kubectl: Kubectl, arguments: tuple[str, ...], words: str) -> None:
    ran = plugin(plane, *arguments)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert RECALL_ANNOTATION not in kubectl.read("gpool", "research")["metadata"].get("annotations", {})


def test_nothing_lent_is_nothing_to_recall(plane: Plane) -> None:
    ran = plugin(plane, "recall", "inference", "--reason", "x")
    assert (ran.returncode, ran.stdout) == (0, "pool inference has lent nothing; nothing to recall\n")


@pytest.mark.parametrize("pool", [(), ("research",)], ids=["all pools", "one pool"])
def test_loans_are_a_table(plane: Plane, pool: tuple[str, ...]) -> None:
    head, *lines = plugin(plane, "loans", *pool).stdout.splitlines()
    assert head.split() == ["POOL", "NODE", "STEP", "POLICY", "SINCE", "UNTIL", "STOPPED"]
    assert [line.split()[:4] for line in lines] == [
        ["research", "recall-1", "Lent", "serving/image-gen"],
        ["research", "recall-2", "Lent", "serving/image-gen"],
    ]


def test_a_loan_says_whose_work_it_stopped(plane: Plane, kubectl: Kubectl) -> None:
    claim = seen(kubectl, "recall-2").claim
    assert claim is not None
    stopped = (Stopped(work="Job lab/train", hours=GpuHours(2.375), saved=Instant(1_780_000_000.0)),)
    at = claim.since
    drain = Drain(eviction=EVICTION, deadline=at, work_lost=GpuHours(2.375), victims=(), began=at, stopped=stopped)
    text = write_claim(replace(claim, drain=drain))
    kubectl("annotate", "node", "recall-2", f"{CLAIM_ANNOTATION}={text}", "--overwrite")
    lines = plugin(plane, "loans").stdout.splitlines()
    assert [line.endswith("Job lab/train (2.4 GPU-hours)") for line in lines] == [False, False, True]
    told = json.loads(plugin(plane, "loans", "-o", "json").stdout)
    assert [one["stopped"] for one in told] == [
        [],
        [{"work": "Job lab/train", "hoursLost": "2.38", "savedBefore": "2026-05-28T20:26:40Z"}],
    ]


def test_the_annotation_is_what_the_operator_reads(kubectl: Kubectl) -> None:
    """Also by hand: it is one JSON text, and the API server takes it as it is."""
    text = json.dumps({"nodes": ["recall-1"], "before": "2100-01-01T00:00:00Z", "reason": "by hand"})
    kubectl("annotate", "gpool", "research", f"{RECALL_ANNOTATION}={text}")
    assert order(kubectl).nodes == {"recall-1"}
    assert means(kubectl, "recall-1")
    assert not means(kubectl, "recall-2")
