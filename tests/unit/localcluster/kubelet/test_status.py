import msgspec

from meltguard.core.units import Instant
from meltguard.localcluster.kubelet.shapes import Pod
from meltguard.localcluster.kubelet.status import Conditions, Ended, Phase, PodNow, Running, Waiting, status_patch

POD = msgspec.convert(
    {"metadata": {"name": "a", "uid": "u"}, "spec": {"containers": [{"name": "c", "image": "meltguard"}]}}, Pod
)


def a_now(**changes: object) -> PodNow:
    usual: dict[str, object] = {
        "phase": Phase.RUNNING,
        "state": Running(Instant(5.0)),
        "ip": "127.70.255.1",
        "node_ip": "127.70.0.8",
        "began": Instant(1.0),
    }
    return PodNow(**{**usual, **changes})  # type: ignore[arg-type] # a builder


def test_a_patch_fits_only_the_very_pod() -> None:
    patch = status_patch(POD, a_now(), [])
    assert patch["metadata"] == {"uid": "u"}
    assert patch["status"]["podIP"] == "127.70.255.1"


def test_every_state_of_a_container_can_be_told() -> None:
    states = {
        "running": Running(Instant(5.0)),
        "waiting": Waiting("CrashLoopBackOff", "again in 1 s"),
        "terminated": Ended(3, Instant(5.0), Instant(6.0)),
    }
    for name, state in states.items():
        told = status_patch(POD, a_now(state=state), [])["status"]["containerStatuses"][0]
        assert list(told["state"]) == [name]
    assert told["state"]["terminated"] == {
        "exitCode": 3,
        "reason": "Error",
        "startedAt": "1970-01-01T00:00:05Z",
        "finishedAt": "1970-01-01T00:00:06Z",
    }


def test_a_condition_remembers_since_when_it_holds() -> None:
    conditions = Conditions()
    conditions.listed(a_now(ready=False), Instant(1.0))
    conditions.listed(a_now(ready=True), Instant(2.0))
    last = conditions.listed(a_now(ready=True), Instant(3.0))
    assert {one["type"]: (one["status"], one["lastTransitionTime"][-3:]) for one in last} == {
        "Initialized": ("True", "01Z"),
        "ContainersReady": ("True", "02Z"),
        "Ready": ("True", "02Z"),
    }


def test_a_finished_pod_says_why_it_is_not_ready() -> None:
    listed = Conditions().listed(a_now(phase=Phase.SUCCEEDED, ready=False), Instant(1.0))
    assert listed[-1]["reason"] == "PodCompleted"
