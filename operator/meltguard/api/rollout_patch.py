"""The write that holds or resumes a Deployment's updates: a JSON patch that tests all that it builds on.

Not resourceVersion: a Deployment's own controller bumps it with every pod that comes or goes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meltguard.api.rollout_mark import ROLLOUT_HELD

Op = dict[str, object]
KEY = ROLLOUT_HELD.replace("/", "~1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A Deployment as it was read; None where the object has no such map or value."""

    uid: str
    paused: bool | None
    annotations: Mapping[str, str] | None
    labels: Mapping[str, str] | None


def hold(found: Found, mark: str) -> list[Op]:
    """Updates wait from now on, and the mark says for whom."""
    marks = (("annotations", found.annotations, mark), ("labels", found.labels, "true"))
    added = [op for where, there, value in marks for op in _added(where, there, value)]
    return [*_as_read(found), *added, {"op": "add", "path": "/spec/paused", "value": True}]


def resume(found: Found) -> list[Op]:
    """Updates go on, and the mark goes."""
    return [*forget(found), {"op": "remove", "path": "/spec/paused"}]


def forget(found: Found) -> list[Op]:
    """Only the mark goes."""
    return [*_as_read(found), *_removed("annotations", found.annotations), *_removed("labels", found.labels)]


def _as_read(found: Found) -> list[Op]:
    return [
        {"op": "test", "path": "/metadata/uid", "value": found.uid},
        {"op": "test", "path": "/spec/paused", "value": found.paused},
    ]


def _added(where: str, there: Mapping[str, str] | None, value: str) -> Iterator[Op]:
    if there is None:
        yield {"op": "test", "path": f"/metadata/{where}", "value": None}
        yield {"op": "add", "path": f"/metadata/{where}", "value": {ROLLOUT_HELD: value}}
        return
    yield {"op": "test", "path": f"/metadata/{where}/{KEY}", "value": there.get(ROLLOUT_HELD)}
    yield {"op": "add", "path": f"/metadata/{where}/{KEY}", "value": value}


def _removed(where: str, there: Mapping[str, str] | None) -> Iterator[Op]:
    if there is None or ROLLOUT_HELD not in there:
        return
    yield {"op": "test", "path": f"/metadata/{where}/{KEY}", "value": there[ROLLOUT_HELD]}
    yield {"op": "remove", "path": f"/metadata/{where}/{KEY}"}
