"""What the operator says about a policy. Texts and lists that are too long are cut, not refused."""

from typing import Annotated

from pydantic import Field

from meltguard.api.conditions import Conditions
from meltguard.api.fields import Clipped, ListMap, Moment
from meltguard.api.levels import LevelName
from meltguard.api.memory import MAX_MEMORY_BYTES
from meltguard.api.wire import MessageModel
from meltguard.core.fleet import MoveStep
from meltguard.core.policy import Mode, TierState
from meltguard.core.rollout_state import RolloutState
from meltguard.core.seen import TrialStage

Count = Annotated[int, Field(ge=0)]
Word = Annotated[str, Clipped(64)]
Name = Annotated[str, Clipped(253)]
Said = Annotated[str, Clipped(256)]
Change = Annotated[str, Clipped(16)]


class SignalStatus(MessageModel):
    """One signal as last read."""

    name: Word
    """The signal's name in spec.metrics.signals; demand is always there, from the agents."""
    value: Word | None = None
    """Its value with its unit. Left out while it is unknown."""
    pressure: Word | None = None
    """The pressure that it means. Left out while it is unknown."""
    age_seconds: Count | None = None
    """Seconds since it was measured."""
    unknown: Said | None = None
    """Why it is unknown. Left out while it is known."""


class LimitStatus(MessageModel):
    """What one tier may have."""

    tier: Word
    """The tier's name."""
    state: TierState
    """Open, Delay, Reject or Suspend."""
    rate: Word
    """Image units over time for the whole tier, or none where nothing limits it."""
    demand: Word | None = None
    """Image units over time that are asked for."""
    since: Moment | None = None
    """When the limitation began."""
    cause: Said | None = None
    """Why it is limited."""
    lifts_when: Said | None = None
    """What must come about for the limit to lift."""
    until: Moment | None = None
    """When it ends, if not before. Left out where nobody knows."""
    message: Annotated[str, Clipped(512)] | None = None
    """What refused users of the tier read now."""


class FeatureStatus(MessageModel):
    """One feature's share of users."""

    name: Word
    """The feature's name."""
    rollout: Word
    """Share of users who have it now."""
    since: Moment | None = None
    """When fewer users than usual began to have it so."""
    cause: Said | None = None
    """Why fewer have it than usual."""
    lifts_when: Said | None = None
    """What must come about for more to have it."""
    until: Moment | None = None
    """When it ends, if not before. Left out where nobody knows."""


class CostStatus(MessageModel):
    """GPU time for an image, the update's against that of the revisions before it."""

    samples: Count
    """Pairs of samples that were compared."""
    least: Change | None = None
    """At least: -22% is a fifth less."""
    mean: Change | None = None
    """On average."""
    most: Change | None = None
    """At most; the truth lies between least and most in 99 of 100 trials."""


class RevisionStatus(MessageModel):
    """What one revision of the pods makes of a GPU, learned while an update was compared with the others."""

    revision: Word
    """Its pod-template-hash."""
    update: bool
    """Whether it is the update."""
    images_per_gpu_second: Annotated[Word, Field(alias="imagesPerGPUSecond")]
    """Image units that a busy GPU makes in a second."""


class TrialStatus(MessageModel):
    """An update that is tried: on one pod, then on a share of the pods, then on all; or taken back, or it waits."""

    stage: TrialStage
    """Starting, Judging, Widening, Promoted, Refused or Equal."""
    since: Moment
    """When the stage began."""
    pods: Count | None = None
    """Pods that are to run the update at this stage."""
    cost: CostStatus | None = None
    """What was found in the whole trial; it stays after the verdict."""
    cost_here: CostStatus | None = None
    """What was found at the present share of the pods alone."""
    revisions: Annotated[tuple[RevisionStatus, ...], ListMap("revision"), Clipped(8)] = ()
    """What each revision makes of a GPU."""


class RolloutStatus(MessageModel):
    """Updates of the service."""

    state: RolloutState
    """Free, Held, Trying (one pod or a share of the pods runs an update), Promoted (it costs less GPU time and goes on
    to all), LeftAlone where someone else's word stands above ours, or Unknown."""
    since: Moment | None = None
    """When they began to wait."""
    cause: Said | None = None
    """Why they wait, or are left alone."""
    lifts_when: Said | None = None
    """What must come about for them to go on."""
    trial: TrialStatus | None = None
    """Of the update that waits."""


class LoanStatus(MessageModel):
    """One node on loan to this policy."""

    node: Name
    """The node's name."""
    home: Word
    """The pool that it comes from and returns to."""
    step: MoveStep
    """How far its move is."""
    since: Moment
    """When it was claimed."""
    promised_return: Moment
    """When it goes home at the latest."""
    why: Said | None = None
    """What the service lacked when it was borrowed, or why it goes home."""
    waits_for: Said | None = None
    """What its move waits for."""


class Laggard(MessageModel):
    """A serving pod that has not acknowledged the limits in force."""

    pod: Name
    """The pod's name."""
    cause: Said
    """Why, as far as it is known."""
    since: Moment
    """Since when."""


class RuleOutcome(MessageModel):
    """One rule's answer."""

    rule: Word
    """The sentence that must hold."""
    holds: bool
    """Whether it does."""
    text: Said
    """The numbers behind the answer."""


class DecisionStatus(MessageModel):
    """The last decision, explained."""

    at: Moment
    """When it was taken."""
    ready_pods: Count
    """Serving pods that are Ready."""
    answering_pods: Count
    """Serving pods whose agent has answered lately."""
    demand: Word | None = None
    """Image units over time that all tiers ask for."""
    capacity: Word | None = None
    """Image units over time that the GPUs can do. Left out until it is measured."""
    budget: Word | None = None
    """Image units over time that were shared out among the tiers."""
    rules: Annotated[tuple[RuleOutcome, ...], Clipped(32)] = ()
    """What was asked before a node may be borrowed, in order, with each answer."""
    next_change: Said | None = None
    """What is earliest to change, and when."""
    unblocked_by: Said | None = None
    """What the next loan waits for: of all ways to a node the one that opens first."""
    possible_from: Moment | None = None
    """The earliest time at which that loan is possible, where rests, windows or back-off decide it."""


class ActiveOverride(MessageModel):
    """An override that is in force."""

    sets: Said
    """What it sets, like free: Suspend."""
    until: Moment
    """When it ends."""
    reason: Said
    """Why it was set."""
    by: Annotated[str, Clipped(128)] | None = None
    """Who set it."""


class HistoryEntry(MessageModel):
    """One thing that changed."""

    at: Moment
    """When."""
    reason: Word
    """What kind of change, as the Event of it is called."""
    text: Said
    """What changed, and why."""


class PolicyStatus(MessageModel):
    """What holds now, and why."""

    observed_generation: Count | None = None
    """metadata.generation that this status is about."""
    conditions: Conditions = ()
    """Ready, MetricsAvailable, Throttling, CapacityBorrowed, BorrowingBlocked, Enforced, Stalled."""
    mode: Mode | None = None
    """The mode in effect."""
    level: LevelName | None = None
    """How hard the service is pressed."""
    level_since: Moment | None = None
    """Since when the level holds."""
    level_lifts_when: Said | None = None
    """What must come about for a milder level. Left out at Normal."""
    pressure: Word | None = None
    """The highest fresh driving signal: 0.7 calm, 1.0 target, 1.5 critical."""
    why: Annotated[str, Clipped(1024)] | None = None
    """Ok? Doing what? Why? In one line."""
    last_change: Moment | None = None
    """When level, a limit or a loan last changed."""
    epoch: Count | None = None
    """Term of the operator's leadership that wrote this."""
    revision: Count | None = None
    """Revision of the limits in force; it counts up within an epoch."""
    acknowledged: Word | None = None
    """Serving pods that have acknowledged this revision, of those that are Ready, like 31/32."""
    signals: Annotated[tuple[SignalStatus, ...], ListMap("name"), Clipped(17)] = ()
    """Each signal as last read."""
    limits: Annotated[tuple[LimitStatus, ...], ListMap("tier"), Clipped(16)] = ()
    """What each tier may have."""
    features: Annotated[tuple[FeatureStatus, ...], ListMap("name"), Clipped(16)] = ()
    """What share of users has each feature."""
    rollouts: RolloutStatus | None = None
    """Whether updates of the service wait. Left out where the policy never holds them."""
    loan_count: Count | None = None
    """Nodes on loan to this policy."""
    loans: Annotated[tuple[LoanStatus, ...], ListMap("node"), Clipped(32)] = ()
    """The nodes on loan; the first 32 where there are more."""
    laggards: Annotated[tuple[Laggard, ...], Clipped(20)] = ()
    """Serving pods that have not acknowledged the limits in force; the first 20 where there are more."""
    overrides: Annotated[tuple[ActiveOverride, ...], Clipped(16)] = ()
    """Overrides in force."""
    decision: DecisionStatus | None = None
    """The last decision, explained."""
    history: Annotated[tuple[HistoryEntry, ...], Clipped(20)] = ()
    """The last changes of level, measures, overrides and loans, the newest first."""
    replicas_found: Count | None = None
    """Replicas of the workload before the first loan."""
    memory: Annotated[str, Field(max_length=MAX_MEMORY_BYTES)] | None = None
    """The operator's own notes from one decision to the next. Without them it starts cautiously."""
