"""A release of the chart in a Kubernetes cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks.command import task

_WHERE = {
    "release": "name of the release (default: accelerapp)",
    "namespace": "namespace of the cluster (default: accelerapp)",
    "context": "context of the kubeconfig (default: its current one)",
}
_GATE = {
    "allow-fewer": "even if a colour has fewer pods than the one that has the traffic",
    "no-health-check": "do not ask pods for /readyz, where the cluster cannot reach them",
}
_TIMEOUT = "seconds to wait for pods to be ready (default: 300)"
_DRY = "change nothing; show what would"
_CHART = "folder of the chart (default: deployment/helm/accelerapp)"


def _target(release: str, namespace: str, context: str) -> Any:
    from pipeline.deploy.target import Target

    return Target(release, namespace, context)


def _chart(folder: str) -> Path:
    from pipeline import commands
    from pipeline.helm.chart import CHART, read_chart

    return read_chart(Path(folder) if folder else commands.ROOT / CHART).folder


@task(
    iterable=("values", "set"),
    help={
        **_WHERE,
        "chart": _CHART,
        "values": "values file; repeatable, commas, later ones win (default: the chart's own)",
        "set": "KEY=VALUE, as helm takes it; repeatable",
        "image-from": "folder of layouts, such as dist/images: run what was built, by its digest",
        "registry": "where it was pushed to (default: ACCELERAPP_REGISTRY, or the values)",
        "no-registry-check": "do not ask the registry whether it has the image",
        "plain-http": "speak http with a registry that is not on this machine",
        "allow-downtime": "go from one deployment to two colours, or back: all pods go at once",
        "create-namespace": "make the namespace where it is missing, with the restricted profile",
        "timeout": _TIMEOUT,
        "keep-failed": "leave a release that does not get ready as it is, to look at it",
        "dry-run": f"{_DRY}, as a diff",
        "json": "print the result as JSON",
    },
)
def release(
    c: Context,
    values: Any = None,
    set: Any = None,
    image_from: str = "",
    registry: str = "",
    no_registry_check: bool = False,
    release: str = "accelerapp",
    namespace: str = "accelerapp",
    context: str = "",
    chart: str = "",
    allow_downtime: bool = False,
    create_namespace: bool = False,
    timeout: str = "300",
    keep_failed: bool = False,
    plain_http: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Install or upgrade the release, wait until it is ready, say why it is not.

    What does not get ready is taken back. With blue-green a new image goes to the colour that
    waits. Exit code 103: no cluster; 104: not allowed; 105: no namespace; 107: another command is
    at it; 108: not ready.
    """
    from pipeline import report
    from pipeline.deploy.deploy import DeployRequest
    from pipeline.deploy.deploy import deploy as run_deploy
    from pipeline.flags import seconds, values_of
    from pipeline.helm.commands import Values
    from pipeline.tasks import show_deploy

    request = DeployRequest(
        target=_target(release, namespace, context),
        chart=_chart(chart),
        values=Values(tuple(map(Path, values_of(values or ()))), tuple(set or ())),
        image_from=Path(image_from) if image_from else None,
        registry=registry or None,
        plain_http=plain_http,
        ask_registry=not no_registry_check,
        create_namespace=create_namespace,
        allow_downtime=allow_downtime,
        timeout_s=seconds("--timeout", timeout),
        keep_failed=keep_failed,
    )
    with report.progress() as progress:
        done = run_deploy(request, progress, dry_run=dry_run)
    show_deploy.deployed(done, dry_run=dry_run, as_json=json)


@task(help={**_WHERE, "json": "print the result as JSON"})
def status(
    c: Context,
    release: str = "accelerapp",
    namespace: str = "accelerapp",
    context: str = "",
    json: bool = False,
) -> None:
    """Show the release: revision, images, which pods are ready, and why others are not."""
    from pipeline.deploy.status import status as look
    from pipeline.tasks import show_deploy

    show_deploy.status(look(_target(release, namespace, context)), as_json=json)


@task(
    help={
        **_WHERE,
        "chart": _CHART,
        "to": "blue or green (default: the other one)",
        **_GATE,
        "dry-run": _DRY,
        "json": "print the result as JSON",
    },
)
def switch(
    c: Context,
    to: str = "",
    release: str = "accelerapp",
    namespace: str = "accelerapp",
    context: str = "",
    chart: str = "",
    allow_fewer: bool = False,
    no_health_check: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Give the traffic to the other colour, once it is ready and healthy; keep the old one.

    Exit code 109: it is not, and nothing was changed.
    """
    from pipeline import report
    from pipeline.deploy.release import COLOURS
    from pipeline.deploy.traffic import Gate
    from pipeline.deploy.traffic import switch as run_switch
    from pipeline.errors import OptionInvalid
    from pipeline.flags import known_values
    from pipeline.tasks import show_deploy

    colours = known_values("to", [to], COLOURS)
    if len(colours) > 1:
        raise OptionInvalid(f"--to {to} names two colours", hint="name one")
    with report.progress() as progress:
        done = run_switch(
            _target(release, namespace, context),
            _chart(chart),
            progress,
            to="".join(colours),
            gate=Gate(allow_fewer, ask_pods=not no_health_check),
            dry_run=dry_run,
        )
    show_deploy.switched(done, dry_run=dry_run, as_json=json)


@task(
    help={
        **_WHERE,
        "chart": _CHART,
        "revision": "which one (default: the one before; with colours, the other colour)",
        **_GATE,
        "timeout": _TIMEOUT,
        "dry-run": _DRY,
        "json": "print the result as JSON",
    },
)
def rollback(
    c: Context,
    revision: str = "",
    release: str = "accelerapp",
    namespace: str = "accelerapp",
    context: str = "",
    chart: str = "",
    allow_fewer: bool = False,
    no_health_check: bool = False,
    timeout: str = "300",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Go back: the traffic to the other colour, or everything to the revision before.

    Also the way out of a release that a killed command left pending.
    """
    from pipeline import report
    from pipeline.deploy.traffic import Gate
    from pipeline.deploy.traffic import rollback as run_rollback
    from pipeline.flags import count, seconds
    from pipeline.tasks import show_deploy

    with report.progress() as progress:
        done = run_rollback(
            _target(release, namespace, context),
            _chart(chart),
            progress,
            revision=count("--revision", revision) if revision else None,
            gate=Gate(allow_fewer, ask_pods=not no_health_check),
            timeout_s=seconds("--timeout", timeout),
            dry_run=dry_run,
        )
    show_deploy.switched(done, dry_run=dry_run, as_json=json)


collection = Collection("deploy", status, switch, rollback)
collection.add_task(release, default=True)
