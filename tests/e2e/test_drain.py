"""A busy node's way out, with the operator as helm installs it: nobody goes untold, and every wait has an end."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from meltguard.clock import SystemClock, rfc3339
from meltguard.core.policy import OnDeadline
from meltguard.core.units import Seconds
from meltguard.localcluster.plane import Plane
from support.admission import until
from support.chart import NAMESPACE
from support.drains import EVICTION, GRACE, NOTICE, RESEARCH, Lab, a_budget, a_training_pod, notice_of
from support.operators import a_gpu_node
from support.plane import Kubectl
from support.release import HelmRelease

pytestmark = pytest.mark.plane

SERVING = "serving"
POLICY = {
    "apiVersion": "meltguard.io/v1alpha1",
    "kind": "ImageServicePolicy",
    "metadata": {"name": "image-gen", "namespace": SERVING},
    "spec": {
        "service": {"selector": {"matchLabels": {"app": "image-gen"}}},
        "capacity": {"pool": "inference", "borrowFrom": ["research"], "maxLoans": 16},
        "tiers": [{"name": "free", "floor": "2%"}],
    },
}
LENDING = {
    "floor": 0,
    "maxLoans": 16,
    "borrowers": {"namespaceSelector": {"matchLabels": {"team": "serving"}}},
    "eviction": {"notice": "3s", "minimumRuntime": "0s", "deadline": "25s"},
}


def a_pool_object(name: str, **spec: object) -> dict[str, object]:
    taint = {"key": "workload", "value": name, "effect": "NoSchedule"}
    return {
        "apiVersion": "meltguard.io/v1alpha1",
        "kind": "GPUPool",
        "metadata": {"name": name},
        "spec": {"nodes": {"labels": {"workload": name}, "taints": [taint]}, **spec},
    }


@pytest.fixture(scope="module")
def lab(lone_plane: Plane, helm: Path) -> Lab:
    """An operator with a policy that holds whatever loans it finds: it has no serving pod that could be calm."""
    kubectl = Kubectl(lone_plane)
    release = HelmRelease(helm, lone_plane, kubectl)
    release.prepare()
    release.install()
    labels = {"team": "serving"}
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SERVING, "labels": labels}})
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RESEARCH}})
    run = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "run", "namespace": RESEARCH}}
    kubectl.apply(run)
    kubectl("wait", "serviceaccount/default", "-n", RESEARCH, "--for=create", "--timeout=30s")
    kubectl.apply(a_pool_object("inference"), a_pool_object("research", lending=LENDING), POLICY)
    until(lambda: bool(kubectl.read("isp", "image-gen", "-n", SERVING).get("status")), 60.0)
    uid = kubectl.read("isp", "image-gen", "-n", SERVING)["metadata"]["uid"]
    return Lab(kubectl, (f"{SERVING}/image-gen", uid))


@pytest.fixture(scope="module", autouse=True)
def _urgent_work(lab: Lab) -> None:
    """Work that outranks the borrower waits for a lent node, by the scheduler's own word: nothing fits.

    It begins before all tests here: the minute that it must have waited passes beside them.
    """
    lab.node("wanted")
    lab.kubectl("label", "node", "wanted", "rack=r9", "--overwrite")
    lab.claim("wanted")
    lab.await_step("wanted", "Lent")
    rank = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "deadline"}}
    lab.kubectl.apply({**rank, "value": 1000})
    pod = a_training_pod(
        "urgent", "", priorityClassName="deadline", nodeSelector={"workload": "research", "rack": "r9"}
    )
    del pod["spec"]["nodeName"]
    lab.start(pod)


def test_a_busy_node_is_told_then_drained_then_lent(lab: Lab) -> None:
    lab.node("busy", a_training_pod("one", "busy"), a_training_pod("two", "busy"))
    began = SystemClock().elapsed()
    lab.claim("busy")
    lab.await_step("busy", "Notified")
    until(lambda: all("evict-after" in notice_of(pod) for pod in lab.pods("busy").values()), 10.0)
    assert lab.read("busy")["metadata"]["labels"]["workload"] != "inference"
    lab.await_step("busy", "Lent")
    took = SystemClock().elapsed() - began
    assert not lab.pods("busy")
    assert {"EvictionNotice"} <= set(lab.said("one"))
    assert {"DrainBegun", "NodeLent"} <= set(lab.said("busy"))
    assert took <= NOTICE + GRACE + 10.0
    assert lab.read("busy")["metadata"]["labels"]["workload"] == "inference"


def test_work_that_is_saved_goes_at_once(lab: Lab) -> None:
    long = replace(EVICTION, notice=Seconds(20.0))
    lab.node("quick", a_training_pod("saver", "quick"))
    lab.claim("quick", long)
    until(lambda: "checkpoint-asked-at" in notice_of(lab.pods("quick")["saver"]), 20.0)
    saved = f"meltguard.io/checkpoint-saved-at={rfc3339(SystemClock().now())}"
    lab.kubectl("annotate", "pod", "saver", "-n", RESEARCH, saved)
    lab.await_step("quick", "Lent", 15.0)


def test_nobody_is_told_on_a_node_that_cannot_be_emptied(lab: Lab) -> None:
    lab.node("shut", a_training_pod("kept", "shut"))
    lab.kubectl.apply(a_budget("kept", "kept", minAvailable=1))
    until(lambda: lab.kubectl.read("pdb", "kept", "-n", RESEARCH)["status"].get("expectedPods") == 1, 20.0)
    before = lab.shape("shut")
    lab.claim("shut")
    lab.await_home("shut")
    assert not notice_of(lab.pods("shut")["kept"])
    assert "MoveUndone" in lab.said("shut")
    assert lab.shape("shut") == before


def test_a_drain_that_is_blocked_ends_at_its_deadline_and_takes_its_notices_back(lab: Lab) -> None:
    lab.node("stuck", a_training_pod("guarded", "stuck"))
    before = lab.shape("stuck")
    lab.claim("stuck", replace(EVICTION, notice=Seconds(6.0), deadline=Seconds(14.0)))
    until(lambda: "evict-after" in notice_of(lab.pods("stuck")["guarded"]), 20.0)
    lab.kubectl.apply(a_budget("guarded", "guarded", minAvailable=1))
    lab.await_home("stuck")
    assert not notice_of(lab.pods("stuck")["guarded"])
    assert not lab.pods("stuck")["guarded"]["metadata"].get("deletionTimestamp")
    assert {"DrainBlocked", "MoveUndone"} <= set(lab.said("stuck"))
    assert "NoticeWithdrawn" in lab.said("guarded")
    assert lab.shape("stuck") == before


def test_an_owner_may_object_after_the_claim(lab: Lab) -> None:
    lab.node("objects", a_training_pod("dear", "objects"))
    lab.claim("objects", replace(EVICTION, notice=Seconds(15.0)))
    until(lambda: "evict-after" in notice_of(lab.pods("objects")["dear"]), 20.0)
    lab.kubectl("annotate", "pod", "dear", "-n", RESEARCH, "meltguard.io/do-not-evict=true")
    lab.await_home("objects", 15.0)
    assert set(notice_of(lab.pods("objects")["dear"])) == {"do-not-evict"}


def test_an_uncordon_in_the_middle_is_the_administrators_word(lab: Lab) -> None:
    lab.node("opened", a_training_pod("stays", "opened"))
    before = lab.shape("opened")
    lab.claim("opened", replace(EVICTION, notice=Seconds(15.0)))
    until(lambda: "evict-after" in notice_of(lab.pods("opened")["stays"]), 20.0)
    lab.kubectl("uncordon", "opened")
    lab.await_home("opened", 20.0)
    assert lab.shape("opened") == before
    assert not lab.pods("opened")["stays"]["metadata"].get("deletionTimestamp")


def test_a_driver_upgrade_ends_the_move(lab: Lab) -> None:
    lab.node("theirs", a_training_pod("works", "theirs"))
    lab.claim("theirs", replace(EVICTION, notice=Seconds(15.0)))
    until(lambda: "evict-after" in notice_of(lab.pods("theirs")["works"]), 20.0)
    lab.kubectl("label", "node", "theirs", "nvidia.com/gpu-driver-upgrade-state=drain-required")
    lab.await_home("theirs", 20.0)
    assert not lab.read("theirs")["spec"].get("unschedulable")
    assert not lab.pods("theirs")["works"]["metadata"].get("deletionTimestamp")


def test_a_bind_behind_the_cordon_is_told_and_evicted_too(lab: Lab) -> None:
    lab.node("late", a_training_pod("first", "late"))
    lab.claim("late", replace(EVICTION, notice=Seconds(5.0)))
    lab.await_step("late", "Notified")
    lab.start(a_training_pod("second", "late"))
    lab.await_step("late", "Lent")
    assert not lab.pods("late")
    assert "EvictionNotice" in lab.said("second")


def test_a_pod_that_does_not_end_is_never_relabelled_over(lab: Lab) -> None:
    pod = a_training_pod("clings", "held")
    pod["metadata"]["finalizers"] = ["example.org/hold"]
    lab.node("held", pod)
    before = lab.shape("held")
    lab.claim("held", replace(EVICTION, notice=Seconds(1.0), deadline=Seconds(8.0)))
    lab.await_home("held")
    assert lab.shape("held") == before
    lab.kubectl("patch", "pod", "clings", "-n", RESEARCH, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


def test_skip_notice_evicts_the_rest_at_the_deadline(lab: Lab) -> None:
    lab.node("hurry", a_training_pod("slow", "hurry"))
    terms = replace(EVICTION, notice=Seconds(2.0), deadline=Seconds(8.0), on_deadline=OnDeadline.SKIP_NOTICE)
    lab.claim("hurry", terms)
    until(lambda: "evict-after" in notice_of(lab.pods("hurry")["slow"]), 20.0)
    lab.kubectl.apply(a_budget("slow", "slow", minAvailable=1))
    until(lambda: "DrainBlocked" in lab.said("hurry"), 20.0)
    lab.start(a_training_pod("later", "hurry"))
    lab.kubectl("delete", "pdb", "slow", "-n", RESEARCH)
    lab.await_step("hurry", "Lent", 40.0)


def test_a_node_that_is_deleted_in_the_middle_takes_its_loan_with_it(lab: Lab) -> None:
    lab.node("lost", a_training_pod("goes", "lost"))
    lab.claim("lost", replace(EVICTION, notice=Seconds(15.0)))
    lab.await_step("lost", "Notified")

    def told(of: str) -> Any:
        return lab.kubectl.read("isp", "image-gen", "-n", SERVING)["status"].get(of, [])

    def on_loan() -> bool:
        return any(one["node"] == "lost" for one in told("loans"))

    # The mover may be a step ahead of the policy's pass: a loan that no pass saw, no pass can tell as over.
    until(on_loan, 30.0)
    lab.kubectl("delete", "node", "lost")
    lab.kubectl("create", "-f", "-", stdin=json.dumps(a_gpu_node("lost", "research")))
    lab.kubectl("wait", "node/lost", "--for=condition=Ready", "--timeout=60s")

    over = "the loan of lost by research is over: the node is gone"
    until(lambda: not on_loan() and any(one["text"] == over for one in told("history")), 30.0)
    assert lab.view("lost").claim is None
    assert not lab.read("lost")["spec"].get("unschedulable")


def plugin(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`kubectl meltguard ...`, found by kubectl as it finds any plugin."""
    kubectl = lab.kubectl.plane.binaries["kubectl"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(lab.kubectl.plane.kubeconfig)}
    command = [str(kubectl), "meltguard", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_lender_recalls_a_node_and_finds_it_in_its_books(lab: Lab) -> None:
    lab.node("mine", a_training_pod("mine", "mine"))
    before = lab.shape("mine")
    lab.claim("mine")
    lab.await_step("mine", "Lent")
    ran = plugin(lab, "recall", "research", "--node", "mine", "--reason", "a deadline")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("to recall: mine (lent to serving/image-gen)")
    assert ran.stdout.rstrip().endswith("mine: home")
    assert lab.shape("mine") == before
    recalled = lab.events("mine", "NodeRecalled")
    assert "a deadline" in recalled[0]
    ledger = lab.kubectl.read("gpool", "research")["status"]["ledger"]
    assert [past["node"] for past in ledger["recent"]].count("mine") == 1
    past = next(past for past in ledger["recent"] if past["node"] == "mine")
    assert float(past["gpuHours"]) > 0
    assert past["workLost"] == "1.500"
    assert "a deadline" in past["why"]


def test_a_recall_of_what_is_not_lent_says_what_is(lab: Lab) -> None:
    ran = plugin(lab, "recall", "research", "--node", "nowhere", "--reason", "a deadline")
    assert ran.returncode == 2
    assert "nowhere: not on loan from pool research" in ran.stderr
    ran = plugin(lab, "recall", "reserch", "--reason", "a deadline")
    assert ran.returncode == 2
    assert "there are: inference, research" in ran.stderr


def test_the_last_resort_brings_a_node_home_past_the_operator(lab: Lab) -> None:
    """`return` fences the operator off, brings the node home by itself, and the operator takes its Lease back."""
    lab.node("rescued", a_training_pod("rescued", "rescued"))
    before = lab.shape("rescued")
    lab.claim("rescued")
    lab.await_step("rescued", "Lent")
    ran = plugin(lab, "return", "rescued", "-n", NAMESPACE)
    assert ran.returncode == 0, ran.stderr
    assert lab.view("rescued").claim is None
    assert lab.shape("rescued") == before
    lab.node("next", a_training_pod("next", "next"))
    lab.claim("next")
    lab.await_step("next", "Lent", 90.0)


def test_work_that_outranks_the_borrower_gets_its_node_back(lab: Lab) -> None:
    """The pod that then runs there is the one that was waited for."""
    lab.await_home("wanted", 120.0)
    until(lambda: "urgent" in lab.pods("wanted"), 30.0)
    (recalled,) = lab.events("wanted", "NodeRecalled")
    assert "pod lab/urgent of priority 1000 waits for a node of pool research" in recalled
    lab.kubectl("delete", "pod", "urgent", "-n", RESEARCH)


def test_a_pool_says_its_hours(lab: Lab) -> None:
    window = {"action": "Deny", "schedule": "* * * * *", "duration": "2h", "timeZone": "Europe/Zurich"}
    lab.kubectl.apply(a_pool_object("research", lending={**LENDING, "windows": [window]}))
    until(lambda: lab.kubectl.read("gpool", "research")["status"].get("hours", "").startswith("Closed"), 20.0)
    assert lab.kubectl.read("gpool", "research")["status"]["windows"]
    lab.kubectl.apply(a_pool_object("research", lending={**LENDING, "windows": []}))
    until(lambda: lab.kubectl.read("gpool", "research")["status"].get("hours", "").startswith("Open"), 20.0)
