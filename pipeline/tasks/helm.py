"""The Helm chart: asked, rendered, tested, documented, packaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks.command import task

_CHART = "folder of the chart (default: deployment/helm/accelerapp)"
_VALUES = "values file, as a set of its own; repeatable, commas (default: the chart's own and ci/)"


def _chart(folder: str) -> Path:
    from pipeline import commands
    from pipeline.helm.chart import CHART

    return Path(folder) if folder else commands.ROOT / CHART


@task(
    iterable=("values",),
    help={"chart": _CHART, "values": _VALUES, "json": "print the result as JSON"},
)
def lint(c: Context, values: Any = None, chart: str = "", json: bool = False) -> None:
    """Have `helm lint --strict` look at the chart with each set of values.

    Exit code 100: helm, the schema of the values or the chart itself refuses one.
    """
    from pipeline import report
    from pipeline.errors import ChartInvalid
    from pipeline.helm.chart import read_chart
    from pipeline.helm.lint import lint as ask
    from pipeline.helm.render import chosen
    from pipeline.process import run
    from pipeline.tasks import show_kubernetes

    folder = read_chart(_chart(chart)).folder
    with report.progress() as progress:
        checked = ask(folder, chosen(folder, values or ()), progress, run)
    show_kubernetes.checked(checked, ChartInvalid, as_json=json)


@task(
    iterable=("values", "set"),
    help={
        "chart": _CHART,
        "values": "values file; repeatable, commas, later ones win (default: the chart's own)",
        "set": "KEY=VALUE, as helm takes it; repeatable",
        "release": "name of the release (default: accelerapp)",
        "namespace": "its namespace (default: accelerapp)",
        "output": "file for the objects (default: standard output)",
    },
)
def template(
    c: Context,
    values: Any = None,
    set: Any = None,
    release: str = "accelerapp",
    namespace: str = "accelerapp",
    chart: str = "",
    output: str = "",
) -> None:
    """Print the objects that the chart makes of values."""
    from pipeline.atomic import write_atomically
    from pipeline.flags import values_of
    from pipeline.helm.chart import read_chart
    from pipeline.helm.commands import Values, find_helm
    from pipeline.helm.render import render
    from pipeline.process import run

    given = Values(tuple(map(Path, values_of(values or ()))), tuple(set or ()))
    folder = read_chart(_chart(chart)).folder
    text = render(find_helm(run), folder, given, run, release=release, namespace=namespace)
    if output:
        write_atomically(Path(output), text.encode())
    else:
        print(text, end="")


@task(help={"select": "only tests whose names have this in them, as pytest -k takes it"})
def test(c: Context, select: str = "") -> None:  # noqa: PT028
    """Run our assertions on what the chart renders: the tests in tests/chart, with pytest.

    Exit code 100: one of them fails.
    """
    from pipeline.helm.assertions import run_tests

    run_tests(select)


@task(
    help={
        "chart": _CHART,
        "output": "folder for NAME-VERSION.tgz (default: dist/charts)",
        "json": "print the result as JSON",
    },
)
def package(c: Context, chart: str = "", output: str = "", json: bool = False) -> None:
    """Pack the chart: the same chart and commit give the same bytes.

    Its time is SOURCE_DATE_EPOCH, or else the commit's. `invoke push --chart` sends it.
    """
    from pipeline import report
    from pipeline.helm.package import package as pack

    made = pack(_chart(chart), Path(output) if output else Path("dist/charts"))
    if json:
        report.print_json(made.to_json())
    else:
        size = report.megabytes(made.size_bytes)
        print(f"{made.path}  {made.digest}")
        print(f"{made.name} {made.version}, {made.files} files, {size}")


@task(
    help={"chart": _CHART, "check": "write nothing; exit code 23 when the table is not current"},
)
def docs(c: Context, chart: str = "", check: bool = False) -> None:
    """Write the table of values in the chart's README from the comments in values.yaml."""
    from pipeline.helm.chart import shown
    from pipeline.helm.docs import README, write_readme

    folder = _chart(chart)
    current = write_readme(folder, check=check)
    print(f"{shown(folder / README)}: {'is current' if current else 'written'}")


collection = Collection("helm", lint, template, test, package, docs)
