from pathlib import Path

from meltguard.demo.gateway import Gateway
from meltguard.demo.records import Endpoint, Endpoints, replace
from meltguard.sim.spread import seeded


def told(path: Path, *names: str) -> None:
    replace(path, Endpoints(pods=tuple(Endpoint(name=name, url=f"http://{name}") for name in names)))


def gateway(path: Path) -> Gateway:
    made = Gateway(path, seeded(1))
    made.look()
    return made


def test_nobody_to_send_to_is_no_pod(tmp_path: Path) -> None:
    with gateway(tmp_path / "endpoints.json").turn(frozenset()) as pod:
        assert pod is None


def test_the_least_busy_pod_is_next(tmp_path: Path) -> None:
    told(tmp_path / "e", "a", "b")
    seen = gateway(tmp_path / "e")

    with seen.turn(frozenset()) as first, seen.turn(frozenset()) as second:
        assert first is not None
        assert second is not None
        assert {first.name, second.name} == {"a", "b"}


def test_a_pod_that_failed_is_left_out_while_there_is_another(tmp_path: Path) -> None:
    told(tmp_path / "e", "a", "b")
    seen = gateway(tmp_path / "e")

    with seen.turn(frozenset({"a"})) as pod:
        assert pod is not None
        assert pod.name == "b"
    with seen.turn(frozenset({"a", "b"})) as any_pod:
        assert any_pod is not None


def test_a_replaced_file_changes_where_to_send(tmp_path: Path) -> None:
    told(tmp_path / "e", "a")
    seen = gateway(tmp_path / "e")
    told(tmp_path / "e", "b", "c")
    seen.look()

    assert {pod.name for pod in seen.pods} == {"b", "c"}
