"""A claim as it is written on its node: one annotation of JSON, read strictly."""

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from meltguard.api.wire import MessageModel
from meltguard.core.fleet import Change, Claim, Drain, MoveStep, Prior
from meltguard.core.policy import Eviction, OnDeadline, Taint
from meltguard.core.units import GpuHours, Instant, PoolName, Seconds
from meltguard.errors import InvalidInput

MAX_CLAIM_BYTES = 16_384
Text = Annotated[str, Field(max_length=512)]


class TaintText(MessageModel):
    """A node taint."""

    key: Text
    value: Text = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class PriorText(MessageModel):
    """What the node looked like before."""

    labels: dict[str, Text | None]
    taints: tuple[TaintText, ...]
    unschedulable: bool
    annotations: dict[str, Text | None]


class ChangeText(MessageModel):
    """What the move makes of it."""

    labels: dict[str, Text | None]
    taints_off: tuple[TaintText, ...]
    taints_on: tuple[TaintText, ...]


class EvictionText(MessageModel):
    """How running work leaves."""

    notice: float
    minimum_runtime: float
    deadline: float
    on_deadline: OnDeadline
    loses_local_data: bool
    fails_jobs: bool


class DrainText(MessageModel):
    """How running work leaves this node, and what it was expected to cost."""

    eviction: EvictionText
    deadline: float
    work_lost: float
    victims: tuple[Text, ...] = ()
    began: float | None = None


class ClaimText(MessageModel):
    """The annotation's JSON. A version that is not ours is left alone: hands off what we do not understand."""

    version: Literal[1]
    move_id: Text
    policy: Text
    policy_uid: Text
    home: Text
    to: Text
    step: MoveStep
    since: float
    step_deadline: float
    due: float
    drain: DrainText | None = None
    lent_at: float | None = None
    cause: Text = ""
    why: Text = ""
    prior: PriorText
    change: ChangeText


def parse_claim(text: str) -> Claim:
    """The claim in an annotation.

    Raises:
        InvalidInput: too large, no JSON, another version, a missing field; the text says which.
    """
    if len(text) > MAX_CLAIM_BYTES:
        raise InvalidInput(f"the claim has {len(text)} bytes, at most {MAX_CLAIM_BYTES} are read")
    try:
        read = ClaimText.model_validate_json(text)
    except ValidationError as exc:
        first = exc.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "claim"
        raise InvalidInput(
            f"not a claim of this version: {where}: {first['msg']}; "
            "look at the node's annotation meltguard.io/loan and remove it once the node is home"
        ) from exc
    prior = Prior(
        labels=read.prior.labels,
        taints=_read_taints(read.prior.taints),
        unschedulable=read.prior.unschedulable,
        annotations=read.prior.annotations,
    )
    return Claim(
        move_id=read.move_id,
        policy=read.policy,
        policy_uid=read.policy_uid,
        home=PoolName(read.home),
        to=PoolName(read.to),
        step=read.step,
        since=Instant(read.since),
        step_deadline=Instant(read.step_deadline),
        due=Instant(read.due),
        drain=_read_drain(read.drain) if read.drain else None,
        lent_at=None if read.lent_at is None else Instant(read.lent_at),
        cause=read.cause,
        why=read.why,
        prior=prior,
        change=Change(
            labels=read.change.labels,
            taints_off=_read_taints(read.change.taints_off),
            taints_on=_read_taints(read.change.taints_on),
        ),
    )


def write_claim(claim: Claim) -> str:
    """The annotation's text; `parse_claim(write_claim(c)) == c`."""
    return ClaimText(
        version=1,
        move_id=claim.move_id,
        policy=claim.policy,
        policy_uid=claim.policy_uid,
        home=claim.home,
        to=claim.to,
        step=claim.step,
        since=claim.since,
        step_deadline=claim.step_deadline,
        due=claim.due,
        drain=_write_drain(claim.drain) if claim.drain else None,
        lent_at=claim.lent_at,
        cause=claim.cause,
        why=claim.why,
        prior=PriorText(
            labels=dict(claim.prior.labels),
            taints=_write_taints(claim.prior.taints),
            unschedulable=claim.prior.unschedulable,
            annotations=dict(claim.prior.annotations),
        ),
        change=ChangeText(
            labels=dict(claim.change.labels),
            taints_off=_write_taints(claim.change.taints_off),
            taints_on=_write_taints(claim.change.taints_on),
        ),
    ).model_dump_json(by_alias=True)


def _read_drain(read: DrainText) -> Drain:
    asked = read.eviction
    return Drain(
        eviction=Eviction(
            notice=Seconds(asked.notice),
            minimum_runtime=Seconds(asked.minimum_runtime),
            deadline=Seconds(asked.deadline),
            on_deadline=asked.on_deadline,
            loses_local_data=asked.loses_local_data,
            fails_jobs=asked.fails_jobs,
        ),
        deadline=Instant(read.deadline),
        work_lost=GpuHours(read.work_lost),
        victims=read.victims,
        began=None if read.began is None else Instant(read.began),
    )


def _write_drain(drain: Drain) -> DrainText:
    return DrainText(
        eviction=EvictionText.model_validate(asdict(drain.eviction)),
        deadline=drain.deadline,
        work_lost=drain.work_lost,
        victims=drain.victims,
        began=drain.began,
    )


def _read_taints(taints: tuple[TaintText, ...]) -> tuple[Taint, ...]:
    return tuple(Taint(key=taint.key, value=taint.value, effect=taint.effect) for taint in taints)


def _write_taints(taints: tuple[Taint, ...]) -> tuple[TaintText, ...]:
    return tuple(
        TaintText.model_validate({"key": taint.key, "value": taint.value, "effect": taint.effect}) for taint in taints
    )
