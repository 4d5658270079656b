"""The manifests that would be applied: one policy, its pools, and the namespace if it is among them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from meltguard.api.policy import ImageServicePolicy
from meltguard.api.pool import GPUPool
from meltguard.api.to_core import PolicyObject, PoolObject, read_policy, read_pool
from meltguard.core.policy import Mode, Policy, SignalKind
from meltguard.errors import InvalidInput
from meltguard.rehearse.yaml_file import documents, in_words

POLICY, POOL, NAMESPACE = "ImageServicePolicy", "GPUPool", "Namespace"
MODELS: Final[Mapping[str, type[BaseModel]]] = {POLICY: ImageServicePolicy, POOL: GPUPool}
ANSWERED: Final = frozenset({SignalKind.AGENT_WAIT, SignalKind.GPU_TEMPERATURE, SignalKind.GPU_UTILIZATION})
"""Signals that the simulated service has an answer for."""

UID: Final = "rehearsed"

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What the files say, as the operator would read it, and what a rehearsal makes of it beyond that."""

    name: str  # that tells it from others on the same surge
    policy: PolicyObject
    pools: tuple[PoolObject, ...]
    namespace_labels: Mapping[str, str]
    notes: tuple[str, ...]  # what is taken otherwise than it is written, each a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One object of one file."""

    path: Path
    kind: str
    body: Body


def read_manifests(paths: Sequence[Path], beside: Sequence[Path] = ()) -> Manifests:
    """One policy with its pools. `beside` are files whose pools and namespaces count where `paths` name none.

    Raises:
        InvalidInput: a file cannot be read, or an object is wrong; the text names file, object, field and value.
    """
    found = [one for path in paths for one in _objects(path)]
    known = {(one.kind, _name(one.body)) for one in found}
    for path in beside:
        found += [one for one in _objects(path) if one.kind != POLICY and (one.kind, _name(one.body)) not in known]
    policies = [one for one in found if one.kind == POLICY]
    if len(policies) != 1:
        files = ", ".join(str(path) for path in paths)
        names = ", ".join(_name(one.body) for one in policies) or "none"
        raise InvalidInput(
            f"{files}: one ImageServicePolicy is rehearsed at a time, found {names}; "
            "give files with one policy and its GPUPools, and further policies with --compare"
        )
    policy = read_policy(_as_applied(policies[0]))
    pools = tuple(read_pool(_as_applied(one)) for one in found if one.kind == POOL)
    _check_pools(policy.policy, pools, policies[0].path)
    labels, assumed = _namespace_labels(policy.policy, pools, found)
    rehearsed, taken = _rehearsable(policy.policy)
    if policy.service.workload is None and rehearsed.capacity is not None:
        assumed = (*assumed, "no spec.service.workloadRef: somebody else is taken to start pods on whatever node opens")
    return Manifests(
        name=policies[0].path.name,
        policy=replace(policy, policy=rehearsed),
        pools=pools,
        namespace_labels=labels,
        notes=(*taken, *assumed),
    )


def _objects(path: Path) -> Iterator[Found]:
    """Every object of a file that a rehearsal knows; others, such as Deployments, are passed over."""
    for body in _unlisted(documents(path, "name a file with Kubernetes manifests")):
        if not isinstance(body, dict) or "kind" not in body:
            raise InvalidInput(f"{path}: an object without a kind; is it a Kubernetes manifest?")
        if body["kind"] in {POLICY, POOL, NAMESPACE}:
            yield Found(path=path, kind=body["kind"], body=body)


def _unlisted(bodies: Iterable[Any]) -> Iterator[Any]:
    for body in bodies:
        if isinstance(body, dict) and body.get("kind") == "List":
            yield from body.get("items") or ()
        elif body is not None:
            yield body


def _name(body: Body) -> str:
    meta = body.get("metadata")
    return str(meta.get("name", "?")) if isinstance(meta, dict) else "?"


def _as_applied(found: Found) -> Body:
    """As the API server would hold it. Raises InvalidInput with every field that is wrong."""
    meta = found.body.get("metadata") or {}
    if not isinstance(meta, dict) or not meta.get("name"):
        raise InvalidInput(f"{found.path}: a {found.kind} without metadata.name; name it")
    extra = {"namespace": meta.get("namespace", "default")} if found.kind == POLICY else {}
    body = {**found.body, "metadata": {**meta, **extra, "uid": meta.get("uid") or f"{UID}-{meta['name']}"}}
    body.pop("status", None)
    model = MODELS[found.kind]
    try:
        model.model_validate(body)
    except ValidationError as exc:
        wrong = in_words(exc, "kubectl explain lists them")
        raise InvalidInput(f"{found.path}: {found.kind} {meta['name']}: {wrong}") from exc
    return body


def _check_pools(policy: Policy, pools: Sequence[PoolObject], path: Path) -> None:
    known = [one.pool.name for one in pools]
    if policy.capacity is None:
        return
    for name in (policy.capacity.pool, *policy.capacity.borrow_from):
        if name not in known:
            there = ", ".join(known) or "none"
            raise InvalidInput(
                f"{path}: {POLICY} {policy.name}: spec.capacity names pool {name!r}, and no file has that GPUPool "
                f"(found {there}); add its manifest to the command"
            )


def _namespace_labels(
    policy: Policy, pools: Sequence[PoolObject], found: Sequence[Found]
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """As its manifest says; where there is none, those that the lenders ask of a borrower, and a note."""
    given = next((one for one in found if one.kind == NAMESPACE and _name(one.body) == policy.namespace), None)
    if given is not None:
        return dict((given.body["metadata"].get("labels")) or {}), ()
    asked = {key: value for one in pools if one.pool.lending for key, value in one.pool.lending.borrower_labels.items()}
    if not asked or policy.capacity is None:
        return asked, ()
    words = ", ".join(f"{key}={value}" for key, value in sorted(asked.items()))
    return asked, (f"namespace {policy.namespace} is taken to bear {words}, as the lenders ask: no Namespace is given",)


def _rehearsable(policy: Policy) -> tuple[Policy, tuple[str, ...]]:
    """What it would do: a policy in Shadow is rehearsed as if it enforced; signals that nobody can answer are left."""
    notes: list[str] = []
    if policy.mode is not Mode.ENFORCE:
        notes.append(f"mode {policy.mode} is rehearsed as Enforce: what the policy would do")
    unanswered = [signal for signal in policy.signals if signal.kind not in ANSWERED]
    if unanswered:
        words = ", ".join(f"{signal.name} ({signal.kind})" for signal in unanswered)
        notes.append(f"left out: signal {words}; a rehearsal answers {', '.join(sorted(ANSWERED))}")
    quotas = [tier.name for tier in policy.tiers if tier.quota is not None]
    if quotas:
        notes.append(f"left out: the quota of {', '.join(quotas)}; users are not told apart here")
    signals = tuple(signal for signal in policy.signals if signal.kind in ANSWERED)
    return replace(policy, mode=Mode.ENFORCE, signals=signals), tuple(notes)
