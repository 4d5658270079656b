"""Where a policy's service is found: which pods, which port, whose replicas."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Comparison(StrEnum):
    """How a label is compared with values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One condition on one label."""

    key: str
    comparison: Comparison
    values: frozenset[str]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it, as Kubernetes reads selectors: NotIn holds where the label is absent."""
        present = labels.get(self.key)
        match self.comparison:
            case Comparison.IN:
                return present in self.values
            case Comparison.NOT_IN:
                return present not in self.values
            case Comparison.EXISTS:
                return present is not None
            case Comparison.DOES_NOT_EXIST:
                return present is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Kubernetes' label selector: all must hold."""

    labels: Mapping[str, str]
    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is meant."""
        return self.labels.items() <= labels.items() and all(one.holds(labels) for one in self.requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadName:
    """The workload that owns the serving pods, in the policy's namespace."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What the operator must look at for one policy."""

    selector: Selector
    agent_port: int
    metric_source: str
    workload: WorkloadName | None
