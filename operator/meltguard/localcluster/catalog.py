"""The programs of the plane: which version, built from what, and which foreign copies will do."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

KUBERNETES_VERSION: Final = "v1.36.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One executable."""

    name: str
    package: str  # Go's import path of its main package
    built_as: str  # what `go build -o DIRECTORY` calls it
    ask: tuple[str, ...] = ("--version",)  # the arguments that make it print its version
    accepts: str  # a foreign copy will do if this pattern is found in what it prints


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One Go module of ours that builds one or more programs."""

    name: str  # the directory below recipes/
    version: str
    programs: tuple[Program, ...]
    link: Mapping[str, str]  # variables that the linker sets
    minutes: float  # on two cores with an empty cache; told to the user

    def directory(self) -> Path:
        """Where its go.mod and go.sum are."""
        with as_file(files("meltguard.localcluster.recipes") / self.name) as place:
            return place


def _kubernetes(name: str) -> Program:
    return Program(name=name, package=f"k8s.io/kubernetes/cmd/{name}", built_as=name, accepts=r"v1\.36\.")


def _prometheus(name: str) -> Program:
    package = f"github.com/prometheus/prometheus/cmd/{name}"
    return Program(name=name, package=package, built_as=name, accepts=rf"{name}, version 3\.")


KUBERNETES: Final = Recipe(
    name="kubernetes",
    version=KUBERNETES_VERSION,
    programs=tuple(_kubernetes(name) for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")),
    link={
        "k8s.io/component-base/version.gitVersion": KUBERNETES_VERSION,
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": "36",
    },
    minutes=9,
)
PROMETHEUS: Final = Recipe(
    name="prometheus",
    version="v0.313.5",
    programs=(_prometheus("prometheus"), _prometheus("promtool")),
    link={"github.com/prometheus/common/version.Version": "3.13.5"},
    minutes=6,
)
KWOK: Final = Recipe(
    name="kwok",
    version="v0.8.0",
    programs=(Program(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok", built_as="kwok", accepts=r"v0\.8\."),),
    link={},
    minutes=2,
)
ETCD: Final = Recipe(
    name="etcd",
    version="v3.6.8",
    programs=(
        Program(name="etcd", package="go.etcd.io/etcd/server/v3", built_as="server", accepts=r"etcd Version: 3\.6\."),
    ),
    link={},
    minutes=1,
)
HELM: Final = Recipe(
    name="helm",
    version="v4.3.1",
    programs=(
        Program(
            name="helm",
            package="helm.sh/helm/v4/cmd/helm",
            built_as="helm",
            ask=("version", "--short"),
            accepts=r"v4\.",
        ),
    ),
    link={"helm.sh/helm/v4/internal/version.version": "v4.3.1"},
    minutes=3,
)

RECIPES: Final = (KUBERNETES, PROMETHEUS, KWOK, ETCD, HELM)
"""Longest first: that is the order in which they are built."""

PLANE_RECIPES: Final = (KUBERNETES, PROMETHEUS, KWOK, ETCD)
"""What a plane needs; helm is built for those who use it."""


def recipe_of(name: str) -> tuple[Recipe, Program]:
    """The recipe that builds a program; KeyError where none does."""
    for recipe in RECIPES:
        for program in recipe.programs:
            if program.name == name:
                return recipe, program
    raise KeyError(name)
