"""The rights that the chart grants, as the table in docs/security.md."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]
ROLE_KINDS = ("ClusterRole", "Role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One rule of one role."""

    role: str  # kind and name
    groups: tuple[str, ...]
    resources: tuple[str, ...]
    names: tuple[str, ...]  # empty: all
    verbs: tuple[str, ...]


def rights_of(manifests: Sequence[Manifest]) -> list[Right]:
    """Every rule of every role, in the chart's order."""
    return [right for manifest in manifests if manifest["kind"] in ROLE_KINDS for right in _rules(manifest)]


def rights_table(rights: Sequence[Right]) -> str:
    """The rights as a Markdown table."""
    rows = [f"| {' | '.join(_cells(right))} |" for right in rights]
    return "\n".join(["| role | resources | API group | verbs |", "|---|---|---|---|", *rows])


def _rules(manifest: Manifest) -> Iterator[Right]:
    for rule in manifest["rules"]:
        yield Right(
            role=f"{manifest['kind']} `{manifest['metadata']['name']}`",
            groups=tuple(rule["apiGroups"]),
            resources=tuple(rule["resources"]),
            names=tuple(rule.get("resourceNames", ())),
            verbs=tuple(rule["verbs"]),
        )


def _cells(right: Right) -> tuple[str, ...]:
    resources = f"{_listed(right.resources)}{_limit(right.names)}"
    return right.role, resources, _groups(right.groups), ", ".join(right.verbs)


def _groups(groups: Sequence[str]) -> str:
    return ", ".join(group or "core" for group in groups)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _limit(names: Sequence[str]) -> str:
    return f" named {_listed(names)}" if names else ""
