"""The JSON patches of a node's move: each tests the node's uid and our own key, never resourceVersion.

The kubelet bumps a node's resourceVersion all the time; testing it would starve. A failed test answers 422.
"""

from dataclasses import replace
from typing import Any

from meltguard.api.claim import write_claim
from meltguard.core.fleet import CLAIM_ANNOTATION, EPOCH_ANNOTATION, LEAVING_ANNOTATION, Claim, MoveStep, NodeView
from meltguard.core.node_shape import NodeShape, released_shape, shape_at
from meltguard.core.policy import Taint
from meltguard.core.units import Epoch

PatchOp = dict[str, Any]


def enter_patch(node: NodeView, claim: Claim, epoch: Epoch) -> list[PatchOp]:
    """Write the claim with its new step, and that step's effect, or nothing at all."""
    return [
        *_tests(node, fresh=claim.step is MoveStep.CLAIMED or CLAIM_ANNOTATION not in node.annotations),
        *_shape_ops(node, shape_at(node, claim)),
        _set_annotation(CLAIM_ANNOTATION, write_claim(claim)),
        _set_annotation(EPOCH_ANNOTATION, str(epoch)),
    ]


def release_patch(node: NodeView, claim: Claim, epoch: Epoch) -> list[PatchOp]:
    """Take the claim off. The epoch stays: it is the fence's memory."""
    return [
        *_tests(node, fresh=False),
        *_shape_ops(node, released_shape(node, claim)),
        {"op": "remove", "path": _annotation_path(CLAIM_ANNOTATION)},
        _set_annotation(EPOCH_ANNOTATION, str(epoch)),
    ]


def mark_patch(node: NodeView, order: str, epoch: Epoch) -> list[PatchOp]:
    """Cordon a bought node that nobody has claimed or cordoned, and name its order: it may be removed."""
    return [
        *_tests(node, fresh=True),
        {"op": "test", "path": "/spec/unschedulable", "value": None},
        *_cordon_ops(node, replace(_as_found(node), unschedulable=True)),
        _set_annotation(LEAVING_ANNOTATION, order),
        _set_annotation(EPOCH_ANNOTATION, str(epoch)),
    ]


def unmark_patch(node: NodeView, epoch: Epoch) -> list[PatchOp]:
    """Take the mark off and the cordon with it: we cordon with the mark only what was open."""
    mark = node.annotations[LEAVING_ANNOTATION]
    return [
        {"op": "test", "path": "/metadata/uid", "value": node.uid},
        {"op": "test", "path": _annotation_path(LEAVING_ANNOTATION), "value": mark},
        *_cordon_ops(node, replace(_as_found(node), unschedulable=False)),
        {"op": "remove", "path": _annotation_path(LEAVING_ANNOTATION)},
        _set_annotation(EPOCH_ANNOTATION, str(epoch)),
    ]


def _as_found(node: NodeView) -> NodeShape:
    return NodeShape(labels={}, annotations={}, taints=node.taints, unschedulable=node.unschedulable)


def _tests(node: NodeView, *, fresh: bool) -> list[PatchOp]:
    tests: list[PatchOp] = [{"op": "test", "path": "/metadata/uid", "value": node.uid}]
    if not fresh:
        claim = node.annotations[CLAIM_ANNOTATION]
        return [*tests, {"op": "test", "path": _annotation_path(CLAIM_ANNOTATION), "value": claim}]
    if not node.annotations:
        tests.append({"op": "test", "path": "/metadata/annotations", "value": None})
        return [*tests, {"op": "add", "path": "/metadata/annotations", "value": {}}]
    return [*tests, {"op": "test", "path": _annotation_path(CLAIM_ANNOTATION), "value": None}]


def _shape_ops(node: NodeView, shape: NodeShape) -> list[PatchOp]:
    return [
        *_label_ops(node, shape),
        *_annotation_ops(node, shape),
        *_taint_ops(node, shape),
        *_cordon_ops(node, shape),
    ]


def _label_ops(node: NodeView, shape: NodeShape) -> list[PatchOp]:
    return [
        op
        for key, value in sorted(shape.labels.items())
        for op in _key_ops(f"/metadata/labels/{_escaped(key)}", node.labels.get(key), value)
    ]


def _annotation_ops(node: NodeView, shape: NodeShape) -> list[PatchOp]:
    return [
        op
        for key, value in sorted(shape.annotations.items())
        for op in _key_ops(_annotation_path(key), node.annotations.get(key), value)
    ]


def _key_ops(path: str, present: str | None, wanted: str | None) -> list[PatchOp]:
    if present == wanted:
        return []
    if wanted is None:
        return [{"op": "remove", "path": path}]
    return [{"op": "add", "path": path, "value": wanted}]


def _taint_ops(node: NodeView, shape: NodeShape) -> list[PatchOp]:
    """A taint change tests the whole list as read: lists have no keys that a patch could name."""
    if shape.taints == node.taints:
        return []
    as_read = [_taint(taint) for taint in node.taints] or None
    return [
        {"op": "test", "path": "/spec/taints", "value": as_read},
        {"op": "add", "path": "/spec/taints", "value": [_taint(taint) for taint in shape.taints]},
    ]


def _cordon_ops(node: NodeView, shape: NodeShape) -> list[PatchOp]:
    if shape.unschedulable == node.unschedulable:
        return []
    if shape.unschedulable:
        return [{"op": "add", "path": "/spec/unschedulable", "value": True}]
    return [{"op": "remove", "path": "/spec/unschedulable"}]


def _taint(taint: Taint) -> dict[str, str]:
    parts = {"key": taint.key, "value": taint.value, "effect": taint.effect, "timeAdded": taint.time_added}
    return {name: text for name, text in parts.items() if text}


def _set_annotation(key: str, value: str) -> PatchOp:
    return {"op": "add", "path": _annotation_path(key), "value": value}


def _annotation_path(key: str) -> str:
    return f"/metadata/annotations/{_escaped(key)}"


def _escaped(key: str) -> str:
    """A JSON pointer's segment: `~` is `~0`, `/` is `~1`."""
    return key.replace("~", "~0").replace("/", "~1")
