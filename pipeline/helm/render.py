"""A chart rendered by helm, as text and as objects; each set of values that stands for a case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ChartInvalid
from pipeline.helm import commands
from pipeline.helm.commands import Values
from pipeline.kubernetes.objects import KubernetesObject, read_objects
from pipeline.process import Runner

RELEASE = "accelerapp"
NAMESPACE = "accelerapp"
CASES = "ci"
"""The chart's folder with values of real situations, `NAME-values.yaml`."""


def render(
    helm: str,
    chart: Path,
    values: Values,
    runner: Runner,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    kubernetes: str = commands.KUBERNETES,
) -> str:
    """Return the objects of a release as YAML, as helm would make them; raises `ChartInvalid`."""
    values.check()
    argv = commands.template(
        helm, chart, values, release=release, namespace=namespace, kubernetes=kubernetes
    )
    done = runner(argv, timeout_s=commands.TIMEOUT_S)
    if not done.ok:
        raise commands.refused(done, values)
    return done.stdout


def rendered_objects(text: str, values: Values) -> tuple[KubernetesObject, ...]:
    """Return the objects of a rendered chart; each has the values and its template for a place."""
    return tuple(
        KubernetesObject(found.data, f"{values.title}: {found.place}")
        for found in read_objects(text, values.title)
    )


def cases(chart: Path) -> tuple[Values, ...]:
    """Return the chart's own values and then each of its cases; raises `ChartInvalid` for none."""
    files = sorted((chart / CASES).glob("*-values.yaml"))
    if not files:
        raise ChartInvalid(
            f"{chart / CASES} has no *-values.yaml", hint="add values of the situations it is for"
        )
    return (Values(), *(Values((file,)) for file in files))


def chosen(chart: Path, files: Sequence[str]) -> tuple[Values, ...]:
    """Return the values of a repeatable `--values`, one set each; all cases where there is none."""
    if not files:
        return cases(chart)
    found = tuple(Values((Path(name),)) for text in files for name in text.split(",") if name)
    for values in found:
        values.check()
    return found
