"""The command lines of helm and kubectl in a cluster, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.helm.commands import Values

REQUEST_TIMEOUT = "20s"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a release is. `context` is of the kubeconfig, empty for its current one."""

    release: str
    namespace: str
    context: str = ""

    def kubectl(self, *words: str) -> tuple[str, ...]:
        """Return a command of kubectl, without the program, in this namespace."""
        context = ("--context", self.context) if self.context else ()
        return (
            *context,
            "--namespace",
            self.namespace,
            "--request-timeout",
            REQUEST_TIMEOUT,
            *words,
        )

    def helm(self, *words: str) -> tuple[str, ...]:
        """Return a command of helm, without the program, in this namespace."""
        context = ("--kube-context", self.context) if self.context else ()
        return (*words, "--namespace", self.namespace, *context)


def upgrade(place: Place, chart: Path, values: Values, *, description: str) -> tuple[str, ...]:
    """Install, or upgrade what is there; the values are all that there are."""
    return place.helm(
        "upgrade",
        "--install",
        place.release,
        str(chart),
        "--reset-values",
        "--description",
        description,
        *values.argv,
    )


def rollback(place: Place, revision: int) -> tuple[str, ...]:
    return place.helm("rollback", place.release, str(revision))


def uninstall(place: Place) -> tuple[str, ...]:
    return place.helm("uninstall", place.release)


def history(place: Place) -> tuple[str, ...]:
    return place.helm("history", place.release, "--output", "json", "--max", "256")


def given_values(place: Place) -> tuple[str, ...]:
    """The values that a release was given, without those of the chart."""
    return place.helm("get", "values", place.release, "--output", "json")


def manifest(place: Place, revision: int | None = None) -> tuple[str, ...]:
    """The objects of a revision, by default of the newest, whatever became of it."""
    which = () if revision is None else ("--revision", str(revision))
    return place.helm("get", "manifest", place.release, *which)


def get(
    place: Place, kinds: Sequence[str], selector: str = "", fields: str = ""
) -> tuple[str, ...]:
    chosen = ("--selector", selector) if selector else ()
    fitting = ("--field-selector", fields) if fields else ()
    return place.kubectl("get", ",".join(kinds), *chosen, *fitting, "--output", "json")


def raw(place: Place, path: str) -> tuple[str, ...]:
    return place.kubectl("get", "--raw", path)


def logs(place: Place, pod: str, container: str, *, previous: bool) -> tuple[str, ...]:
    which = ("--previous",) if previous else ()
    return place.kubectl("logs", pod, "--container", container, "--tail", "5", *which)


def create(place: Place, *words: str) -> tuple[str, ...]:
    """Create what is on standard input, and print it."""
    return place.kubectl("create", "--filename", "-", "--output", "json", *words)
