"""Kubernetes without Helm: the manifest, and what a careful cluster would say to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks.command import task


@task(
    help={
        "values": "values file (default: deployment/kubernetes/values.yaml)",
        "output": "the manifest (default: deployment/kubernetes/accelerapp-deployment.yaml)",
        "check": "write nothing; exit code 23 when the manifest is not current",
    },
)
def render(c: Context, values: str = "", output: str = "", check: bool = False) -> None:
    """Render the manifest from the chart: all objects in one file, for `kubectl apply`."""
    from pipeline import commands
    from pipeline.helm.chart import CHART, read_chart, shown
    from pipeline.helm.manifest import MANIFEST, VALUES, write_manifest
    from pipeline.process import run

    made = write_manifest(
        read_chart(commands.ROOT / CHART),
        Path(values) if values else commands.ROOT / VALUES,
        Path(output) if output else commands.ROOT / MANIFEST,
        run,
        check=check,
    )
    state = "is current" if made.was_current else "written"
    print(f"{shown(made.path)}: {state}, {made.objects} objects")


@task(
    iterable=("values", "file"),
    help={
        "values": "values file, as a set of its own; repeatable, commas (default: the chart's own "
        "and all in its ci/)",
        "file": "another manifest instead of chart and manifest of this repository; repeatable",
        "kubernetes": "versions such as 1.30,1.34, or all (default: the oldest and the newest)",
        "json": "print the result as JSON",
    },
)
def check(
    c: Context, values: Any = None, file: Any = None, kubernetes: str = "", json: bool = False
) -> None:
    """Check every object of chart and manifest: schemas, the restricted profile, our rules.

    Exit code 101: one of them breaks something.
    """
    from pipeline import commands, report
    from pipeline.errors import ManifestInvalid
    from pipeline.flags import values_of
    from pipeline.helm.chart import CHART
    from pipeline.helm.lint import check as look
    from pipeline.helm.manifest import MANIFEST
    from pipeline.helm.render import chosen
    from pipeline.kubernetes.schemas import chosen_versions
    from pipeline.process import run
    from pipeline.settings import read_settings
    from pipeline.tasks import show_kubernetes

    chart = commands.ROOT / CHART
    files = [Path(name) for name in values_of(file or ())]
    with report.progress() as progress:
        checked = look(
            chart,
            () if files and not values else chosen(chart, values or ()),
            files if files or values else [commands.ROOT / MANIFEST],
            read_settings(commands.ROOT),
            chosen_versions(kubernetes),
            progress,
            run,
        )
    show_kubernetes.checked(checked, ManifestInvalid, as_json=json)


collection = Collection("k8s", render, check)
