"""The kinds of file that are spoiled: where each is, how it is spoiled, and who has to notice.

The tests that are likeliest to notice come first, and the first that does ends a run.  Left out
everywhere is what compares a rendered file with what renders it: that would notice anything, and
say nothing about the tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from mutants import dockerfiles, lines, python_code, templates, yaml_nodes
from mutants.mutant import Edit, Meaning, Mutant, empty, spoiled
from mutants.yaml_nodes import Route

Stage = tuple[str, ...]
"""What one run of pytest is given: files, classes of tests."""
Stages = tuple[Stage, ...]
_INFRASTRUCTURE = "tests/test_deployment_infrastructure.py"
_CHART = Path("deployment/helm/accelerapp")
RENDERED_COMPARISONS = (
    "test_the_committed_files_are",
    "test_the_manifest_is",
    "test_the_readme_is",
    "test_every_value_is_in_the_schema",
)


@dataclass(frozen=True, slots=True)
class Operators:
    """How a file is spoiled, and what it says."""

    edits: Callable[[str], Iterator[Edit]]
    meaning: Meaning


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file. `judges` are the stages of tests for a file; `left_out`, names of tests."""

    name: str
    patterns: tuple[str, ...]
    operators: Callable[[Path], Operators]
    judges: Callable[[Path], Stages]
    left_out: tuple[str, ...] = ()

    def files(self, root: Path) -> list[Path]:
        """Return its files, below `root`."""
        found = {path for pattern in self.patterns for path in root.glob(pattern)}
        return sorted(path.relative_to(root) for path in found if path.is_file())

    def mutants(
        self, root: Path, *, size: int | None = None, seed: int = 1, only: tuple[str, ...] = ("",)
    ) -> list[Mutant]:
        """Return mutants of the files whose path ends with one of `only`, by their places.

        All of them, or `size`: the same ones for a seed.
        """
        texts = {
            path: (root / path).read_text(encoding="utf-8")
            for path in self.files(root)
            if str(path).endswith(only)
        }
        # What a text says as it stands is asked again for each of its mutants.
        meanings = {path: cache(self.operators(path).meaning) for path in texts}
        places: list[tuple[Path, Edit | None]] = []
        for path, text in texts.items():
            places += [(path, None), *((path, edit) for edit in self.operators(path).edits(text))]
        order = list(range(len(places)))
        random.Random(seed).shuffle(order)  # noqa: S311
        chosen: dict[int, Mutant] = {}
        for number in order:
            if size is not None and len(chosen) >= size:
                break
            path, edit = places[number]
            found = spoiled(path, texts[path], edit, meanings[path]) if edit else empty(path)
            if found is not None:
                chosen[number] = found
        return [chosen[number] for number in sorted(chosen)]


# Dockerfiles.


_LINES = Operators(lines.edits, lines.meaning)
_YAML = Operators(yaml_nodes.edits, yaml_nodes.meaning)


def _docker_operators(path: Path) -> Operators:
    if path.name == ".dockerignore":
        return _LINES
    return Operators(dockerfiles.edits, dockerfiles.meaning)


def _docker_judges(path: Path) -> Stages:
    return (f"{_INFRASTRUCTURE}::TestDockerConfiguration",), (
        "tests/unit/pipeline/test_dockerfile.py",
    )


# Compose.


def _compose_operators(path: Path) -> Operators:
    return _YAML if path.suffix == ".yml" else _LINES


def _compose_judges(path: Path) -> Stages:
    return (
        (f"{_INFRASTRUCTURE}::TestDockerConfiguration",),
        ("tests/unit/pipeline/compose",),
    )


# The chart.

_CHART_TESTS = (
    *("service_pods", "traffic", "companions", "network", "monitoring", "scaling", "volumes"),
    *("labels", "text", "notes", "helm_test_pod", "limits", "bad_values", "checks", "values"),
)
_FIRST = {
    "NOTES.txt": "notes",
    "_network.tpl": "network",
    "_validate.tpl": "bad_values",
    "hpa.yaml": "scaling",
    "httproute.yaml": "traffic",
    "ingress.yaml": "traffic",
    "monitor.yaml": "companions",
    "networkpolicy.yaml": "network",
    "ollama.yaml": "companions",
    "pdb.yaml": "scaling",
    "prometheusrule.yaml": "monitoring",
    "pvc.yaml": "volumes",
    "redis.yaml": "companions",
    "servicemonitor.yaml": "monitoring",
    "service.yaml": "traffic",
    "values.schema.json": "limits",
    "values.yaml": "values",
}
"""The tests most likely to notice."""


def _for_people(route: Route) -> bool:
    """A schema's prose: what the README of the chart says of a value."""
    return route[-1:] in {("description",), ("title",), ("$comment",)}


def _chart_operators(path: Path) -> Operators:
    if "templates" in path.parts:
        return Operators(templates.edits, templates.meaning)
    if path.suffix == ".json":
        return Operators(partial(yaml_nodes.edits, words=_for_people), yaml_nodes.meaning)
    return _YAML


def _chart_judges(path: Path) -> Stages:
    first = _FIRST.get(path.name)
    rest = [name for name in _CHART_TESTS if name != first]
    half = len(rest) // 2
    named = [(first,)] if first else []
    return (
        (f"{_INFRASTRUCTURE}::TestHelmChart",),
        *(
            tuple(f"tests/chart/test_{name}.py" for name in names)
            for names in (*named, rest[:half], rest[half:])
        ),
    )


# The manifest.


def _manifest_judges(path: Path) -> Stages:
    return (
        (f"{_INFRASTRUCTURE}::TestHelmChart",),
        ("tests/chart/test_checks.py::test_every_object_is_one_that_kubernetes_and_we_take",),
    )


# Workflows.


def _name_or_description(route: Route) -> bool:
    """Names of workflows, jobs and steps, and descriptions: what a page of GitHub's shows."""
    if not route or "with" in route or "env" in route or "outputs" in route[-2:-1]:
        return False
    return route[-1] in ("name", "description") and route[-2:-1] not in {("inputs",), ("secrets",)}


def _workflow_judges(path: Path) -> Stages:
    return (
        (f"{_INFRASTRUCTURE}::TestCICDWorkflows",),
        ("tests/unit/pipeline/workflows",),
    )


# The monitor.

_MONITOR_TESTS = (
    *(
        "addresses",
        "fetch",
        "history",
        "targets",
        "redis",
        "settings",
        "watch",
        "checks",
        "metrics",
    ),
    *("web", "page", "health_check", "readme", "readings", "limits", "cgroup", "connections"),
)
_SLOW_MONITOR_TESTS = ("probe", "monitor", "contract", "server")


def _monitor_judges(path: Path) -> Stages:
    own = {"lifecycle": "monitor", "connect": "fetch", "server": "connections"}.get(
        path.stem, path.stem
    )
    quick = [name for name in _MONITOR_TESTS if name != own]
    slow = [name for name in _SLOW_MONITOR_TESTS if name != own]
    known = own in (*_MONITOR_TESTS, *_SLOW_MONITOR_TESTS)
    return (
        *(((f"tests/unit/monitoring/test_{own}.py",),) if known else ()),
        tuple(f"tests/unit/monitoring/test_{name}.py" for name in quick),
        (
            f"{_INFRASTRUCTURE}::TestMonitoringService",
            *(f"tests/unit/monitoring/test_{name}.py" for name in slow),
        ),
    )


KINDS = (
    Kind(
        "docker",
        ("deployment/docker/Dockerfile*", ".dockerignore"),
        _docker_operators,
        _docker_judges,
    ),
    Kind(
        "compose",
        tuple(
            f"deployment/docker/{name}"
            for name in ("docker-compose*.yml", "redis.conf", ".env.example")
        ),
        _compose_operators,
        _compose_judges,
    ),
    Kind(
        "chart",
        tuple(
            f"{_CHART}/{name}" for name in ("templates/**/*", "values.yaml", "values.schema.json")
        ),
        _chart_operators,
        _chart_judges,
        # What looks at no template, or runs everything once more in another process.
        (
            "test_a_mutated_value_is_refused",
            "test_helm_agrees",
            "test_the_tasks_say_so_too",
            "test_every_supported_helm",
            "trivy",
            "promtool",
        ),
    ),
    Kind(
        "manifest",
        ("deployment/kubernetes/accelerapp-deployment.yaml",),
        lambda path: _YAML,
        _manifest_judges,
    ),
    Kind(
        "workflows",
        (".github/workflows/*.yml", ".github/actions/*/action.yml", ".github/dependabot.yml"),
        lambda path: Operators(
            partial(yaml_nodes.edits, words=_name_or_description), yaml_nodes.meaning
        ),
        _workflow_judges,
    ),
    Kind(
        "monitor",
        ("monitoring/*.py",),
        lambda path: Operators(python_code.edits, python_code.meaning),
        _monitor_judges,
    ),
)
