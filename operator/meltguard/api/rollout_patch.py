"""The write that holds or resumes a Deployment's updates: a JSON patch that tests all that it builds on.

Not resourceVersion: a Deployment's own controller bumps it with every pod that comes or goes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from meltguard.api.rollout_mark import ROLLOUT_HELD
from meltguard.core.seen import RolloutMark

Op = dict[str, object]
Strategy = dict[str, object]
KEY = ROLLOUT_HELD.replace("/", "~1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A Deployment as it was read; None where the object has no such map or value."""

    uid: str
    paused: bool | None
    annotations: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    strategy: str = ""  # as JSON; "" where it has none


TRYING: Final[Strategy] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
"""While an update is tried: one pod at a time, in the place of another, for there is no GPU to spare."""

GOING_ON: Final[Strategy] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}
"""A cheaper update that goes on to its next share: a tenth of the pods at a time (one at least), in others' place."""


def is_ours(strategy: str) -> bool:
    """Whether a strategy, as JSON, is one that a trial writes."""
    return bool(strategy) and json.loads(strategy) in (TRYING, GOING_ON)


def step(found: Found, mark: str, *then: Op) -> list[Op]:
    """The mark says something new, and what follows from it is done in the same write."""
    return [*_as_read(found), *_added("annotations", found.annotations, mark), *then]


def let_start() -> list[Op]:
    """Pods of the update start, one at a time."""
    return [{"op": "replace", "path": "/spec/strategy", "value": TRYING}, {"op": "remove", "path": "/spec/paused"}]


def stop(found: Found) -> list[Op]:
    """Nothing more of it starts."""
    return [] if found.paused else [{"op": "add", "path": "/spec/paused", "value": True}]


def go_on(found: Found) -> list[Op]:
    """The update goes on to its next share; in its owner's own way only after the hold, when there is room for that."""
    unpaused: list[Op] = [{"op": "remove", "path": "/spec/paused"}] if found.paused else []
    return [*unpaused, {"op": "replace", "path": "/spec/strategy", "value": GOING_ON}]


def own_strategy(found: Found, mark: RolloutMark | None) -> list[Op]:
    """The strategy as its owner wrote it, where ours stands."""
    trial = mark.trial if mark is not None else None
    if trial is None or not is_ours(found.strategy):
        return []
    return [{"op": "replace", "path": "/spec/strategy", "value": json.loads(trial.strategy)}]


def hold(found: Found, mark: str) -> list[Op]:
    """Updates wait from now on, and the mark says for whom."""
    marks = (("annotations", found.annotations, mark), ("labels", found.labels, "true"))
    added = [op for where, there, value in marks for op in _added(where, there, value)]
    return [*_as_read(found), *added, {"op": "add", "path": "/spec/paused", "value": True}]


def resume(found: Found, mark: RolloutMark | None) -> list[Op]:
    """Updates go on, and the mark goes."""
    return [*forget(found, mark), {"op": "remove", "path": "/spec/paused"}]


def forget(found: Found, mark: RolloutMark | None) -> list[Op]:
    """Only the mark goes, and our strategy with it."""
    marks = [*_removed("annotations", found.annotations), *_removed("labels", found.labels)]
    return [*_as_read(found), *marks, *own_strategy(found, mark)]


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
