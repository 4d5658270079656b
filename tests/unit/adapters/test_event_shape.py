from meltguard.adapters.event_shape import (
    EventRecord,
    EventType,
    ObjectRef,
    Reporter,
    event_body,
    series_patch,
    shortened,
)
from meltguard.core.units import Instant

NODE = ObjectRef(api_version="v1", kind="Node", name="n1", uid="u1")
RECORD = EventRecord(regarding=NODE, reason="NodeBorrowed", message="lent", action="Borrow", type=EventType.WARNING)


def test_an_event_about_a_node_lives_in_the_default_namespace() -> None:
    body = event_body(RECORD, "n1.x", Reporter(controller="meltguard.io/operator", instance="pod"), Instant(0.0))
    assert body["metadata"] == {"name": "n1.x", "namespace": "default"}
    assert body["regarding"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1"}
    assert (body["type"], body["reason"], body["note"]) == ("Warning", "NodeBorrowed", "lent")


def test_a_series_changes_nothing_else() -> None:
    assert series_patch(3, Instant(0.0)) == {"series": {"count": 3, "lastObservedTime": "1970-01-01T00:00:00.000000Z"}}


def test_a_note_is_as_long_as_the_api_server_takes() -> None:
    assert shortened("short") == "short"
    assert len(shortened("ä" * 2000).encode()) <= 1024
    assert shortened("ä" * 2000).endswith("ä...")
