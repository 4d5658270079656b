"""Each promise about pods, kept and broken."""

import msgspec

from meltguard.demo.check.audit import Ref
from meltguard.demo.check.pods import (
    PodSeen,
    accepted_evictions,
    binds,
    deleted_without_eviction,
    evictions_without_uid,
)
from support.demo_evidence import OURS, a_write, an_eviction

TRAIN = PodSeen(uid="u1", namespace="research", name="train-0", node="gpu-04")
OTHER = PodSeen(uid="u2", namespace="research", name="train-1", node="gpu-04")
POD = Ref(resource="pods", namespace="research", name="train-0")


def test_nothing_that_stayed_was_deleted() -> None:
    assert deleted_without_eviction([], OURS, ([TRAIN, OTHER], [OTHER, TRAIN])) == ()


def test_a_pod_that_vanished_is_found_whoever_removed_it() -> None:
    removed = a_write(1.0, "delete", POD, user="system:node-controller")

    assert deleted_without_eviction([removed], OURS, ([TRAIN], [])) == ("research/train-0 vanished from gpu-04",)


def test_an_evicted_pod_may_go() -> None:
    assert deleted_without_eviction([an_eviction(1.0, "train-0", uid="u1")], OURS, ([TRAIN], [])) == ()


def test_an_eviction_of_another_uid_is_no_excuse() -> None:
    assert deleted_without_eviction([an_eviction(1.0, "train-0", uid="u9")], OURS, ([TRAIN], [])) != ()


def test_a_refused_eviction_is_no_excuse() -> None:
    assert deleted_without_eviction([an_eviction(1.0, "train-0", uid="u1", code=429)], OURS, ([TRAIN], [])) != ()


def test_a_deletion_by_our_identity_is_found_even_where_the_pod_is_back() -> None:
    deletion = a_write(1.0, "delete", POD)
    collection = a_write(1.0, "deletecollection", Ref(resource="pods", namespace="serving"))

    found = deleted_without_eviction([deletion, collection], OURS, ([TRAIN], [TRAIN]))

    assert len(found) == 2


def test_the_replicasets_own_scale_down_is_not_ours() -> None:
    scaled = a_write(1.0, "delete", Ref(resource="pods", namespace="serving", name="x"), user="system:controller")

    assert deleted_without_eviction([scaled], OURS, ([TRAIN], [TRAIN])) == ()


def test_only_granted_evictions_count() -> None:
    asked = [an_eviction(1.0, "a", uid="u"), an_eviction(2.0, "b", uid="v", code=429)]

    assert [write.ref.name for write in accepted_evictions(asked)] == ["a"]


def test_an_eviction_without_uid_is_found() -> None:
    assert len(evictions_without_uid([an_eviction(1.0, "a"), an_eviction(1.0, "b", uid="u")], OURS)) == 1


def test_a_binding_tells_a_pods_node() -> None:
    ref = Ref(resource="pods", subresource="binding", namespace="serving", name="image-gen-1")
    bound = a_write(1.0, "create", ref, asked=msgspec.json.encode({"target": {"name": "gpu-04"}}), code=201)

    assert binds([bound]) == {("serving", "image-gen-1"): "gpu-04"}
