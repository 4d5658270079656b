"""What a custom resource is besides its fields: names, scope, what kubectl shows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, Field

from meltguard.api.wire import MessageModel

GROUP: Final = "meltguard.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "meltguard.io/v1alpha1"


class Scope(StrEnum):
    """Whether objects lie in a namespace."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


class ObjectMeta(MessageModel):
    """The few metadata that we read."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of kubectl get."""

    name: str
    type: str  # string, integer, date
    path: str  # JSONPath
    description: str
    wide: bool = False  # with -o wide only


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomResource:
    """One kind."""

    kind: str
    plural: str
    short_name: str
    scope: Scope
    model: type[BaseModel]
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]  # JSONPaths that field selectors may use

    @property
    def full_name(self) -> str:
        """The CRD's own name."""
        return f"{self.plural}.{GROUP}"


READY: Final = Column(
    name="Ready",
    type="string",
    path='.status.conditions[?(@.type=="Ready")].status',
    description="Whether the object is understood and carried out.",
)
WHY: Final = Column(name="Why", type="string", path=".status.why", description="What is happening, and why.")
AGE: Final = Column(name="Age", type="date", path=".metadata.creationTimestamp", description="Time since creation.")
