"""Everything that the checker goes by, gathered from files and snapshots."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import msgspec

from meltguard.agent.journal import JournalEntry
from meltguard.core.units import Instant, Seconds, Share
from meltguard.demo.check.audit import Write
from meltguard.demo.check.cards import Glimpse, PodRef
from meltguard.demo.check.fleet import Fleet
from meltguard.demo.check.pods import PodSeen
from meltguard.demo.records import Result, Started, complete_lines
from meltguard.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What was asked for, as far as checks need it."""

    identity: str  # user name of the operator
    policy: str
    lender_labels: Mapping[str, str]
    lender_floor: int
    lender: str  # its namespace
    free_floor: Share
    wait_target: Seconds
    owned_gpus: int  # of the service's own nodes
    gpus_a_node: int  # that a borrowed node brings
    on_level: Mapping[str, Mapping[str, str]] = field(
        default_factory=dict
    )  # by tier: the state asked for from a level on
    hot_node: str = ""  # of the service's own, the one with a badly cooled card


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The cluster at one moment."""

    fleet: Fleet
    lenders_pods: tuple[PodSeen, ...]
    updated: bool = False  # every serving pod runs the version that was shipped, and nothing holds updates any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One run."""

    promises: Promises
    surge_at: Instant
    before: Snapshot
    after: Snapshot
    writes: tuple[Write, ...]
    journals: Mapping[str, tuple[JournalEntry, ...]]  # by node
    results: tuple[Result, ...]
    ack_p99: Seconds | None  # as the operator measured it; None where it told nothing
    silent_queries: tuple[str, ...] = ()  # of dashboard and alerts, that never found anything
    glimpses: tuple[Glimpse, ...] = ()  # of the service's own nodes, second by second
    slow_pod: PodRef | None = None  # on the slow card when the surge began

    @property
    def entries(self) -> tuple[JournalEntry, ...]:
        """All nodes' journals."""
        return tuple(chain.from_iterable(self.journals.values()))


def read_journals(folder: Path) -> dict[str, tuple[JournalEntry, ...]]:
    """The journals of every node: one folder a node, one file a pod.

    Raises:
        InvalidInput: a line is no journal entry.
    """
    decoder = msgspec.json.Decoder(JournalEntry)
    found: dict[str, tuple[JournalEntry, ...]] = {}
    for node in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            lines = (decoder.decode(text) for file in sorted(node.glob("*.jsonl")) for text in complete_lines(file))
            found[node.name] = tuple(lines)
        except msgspec.MsgspecError as exc:
            raise InvalidInput(f"a journal in {node} is none: {exc}; are the agents of this version?") from exc
    return found


def read_results(path: Path) -> tuple[Started, tuple[Result, ...]]:
    """What the load generator wrote. Raises InvalidInput where it did not start, or a line is none of its."""
    lines = complete_lines(path)
    if not lines:
        raise InvalidInput(f"{path} is empty: the load generator never started; see its log beside it")
    try:
        started = msgspec.json.decode(lines[0], type=Started)
        return started, tuple(msgspec.json.decode(text, type=Result) for text in lines[1:])
    except msgspec.MsgspecError as exc:
        raise InvalidInput(f"{path} is no file of the load generator: {exc}; is it of this run?") from exc
