"""The stack in Compose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.context import Context

from pipeline.tasks.command import task

_PROFILES = {
    "redis": "with Redis, and generations published on its stream",
    "monitoring": "with the monitor",
    "gpu": "with NVIDIA's GPUs for Ollama",
    "dev": "the development image, this checkout's source, restarts with each change",
    "project": "name of the stack, for several on one machine (default: accelerapp)",
}


@task(
    help={
        "folder": "where docker-compose.yml is (default: deployment/docker)",
        "json": "print the result as JSON",
    },
)
def check(c: Context, folder: str = "", json: bool = False) -> None:
    """Check the Compose files: the specification, our rules, and Docker where it is there."""
    from pipeline import report
    from pipeline.compose.check import check as check_files
    from pipeline.compose.stack import FOLDER
    from pipeline.errors import ComposeInvalid
    from pipeline.findings import counted

    with report.progress() as progress:
        checked = check_files(Path(folder).absolute() if folder else FOLDER, progress)
    if json:
        report.print_json(checked.to_json())
    else:
        for finding in checked.findings:
            print(finding)
        if not checked.findings:
            asked = f"docker compose config {checked.silent or f'asked {checked.asked} times'}"
            print(f"{', '.join(checked.files)}: nothing wrong; {asked}")
    if checked.findings:
        raise ComposeInvalid(
            f"{counted(checked.findings)} in the Compose files",
            hint="correct what is listed above",
        )


@task(
    help={
        **_PROFILES,
        "build": "build images from the Dockerfiles first, instead of using those that are there",
        "port": "port of the service on this machine (default: ACCELERAPP_HOST_PORT, 8000)",
        "timeout": "seconds to wait for every service to be healthy (default: 120)",
        "json": "print the result as JSON",
    },
)
def up(
    c: Context,
    redis: bool = False,
    monitoring: bool = False,
    gpu: bool = False,
    dev: bool = False,
    build: bool = False,
    port: str = "",
    timeout: str = "120",
    project: str = "",
    json: bool = False,
) -> None:
    """Start the stack and wait until it is healthy; on failure, say what and why."""
    from pipeline import report
    from pipeline.compose.stack import Stack
    from pipeline.compose.stack import up as start
    from pipeline.flags import seconds

    stack = Stack.asked(
        redis=redis, monitoring=monitoring, gpu=gpu, dev=dev, port=port, project=project
    )
    timeout_s = seconds("--timeout", timeout)
    with report.progress() as progress:
        found = start(stack, progress, build=build, timeout_s=timeout_s)
    _show(found, json)


@task(
    help={
        "volumes": "also remove what it stored: models, outputs, the stream",
        "project": _PROFILES["project"],
    },
)
def down(c: Context, volumes: bool = False, project: str = "") -> None:
    """Stop the stack and remove its containers and its network."""
    from pipeline import report
    from pipeline.compose.stack import Stack
    from pipeline.compose.stack import down as stop

    with report.progress() as progress:
        stop(Stack.asked(project=project), progress, volumes=volumes)


@task(
    iterable=("service",),
    help={
        "service": "only these: accelerapp, ollama, redis, monitoring; repeatable",
        "follow": "go on until Ctrl-C",
        "tail": "only so many lines of each",
        "project": _PROFILES["project"],
    },
)
def logs(
    c: Context, service: Any = None, follow: bool = False, tail: str = "", project: str = ""
) -> None:
    """Print what the services logged."""
    from pipeline.compose.stack import Stack
    from pipeline.compose.stack import logs as show
    from pipeline.flags import count

    names = tuple(name for given in service or () for name in given.split(","))
    lines = count("--tail", tail) if tail else None
    show(Stack.asked(project=project), names, follow=follow, tail=lines)


@task(help={"project": _PROFILES["project"], "json": "print the result as JSON"})
def ps(c: Context, project: str = "", json: bool = False) -> None:
    """Show the services, whether they are healthy, and their ports."""
    from pipeline.compose import commands
    from pipeline.compose.stack import Stack, services
    from pipeline.process import run

    commands.required(run)
    _show(services(Stack.asked(project=project).everything), json)


@task(
    help={
        "timeout": "seconds to wait for every service to be healthy (default: 120)",
        "json": "print the result as JSON",
    },
)
def smoke(c: Context, timeout: str = "120", json: bool = False) -> None:
    """Bring up a stack of its own, use every part of it, break one, and take it all down."""
    from pipeline import report
    from pipeline.compose.smoke import smoke as use
    from pipeline.flags import seconds

    timeout_s = seconds("--timeout", timeout)
    with report.progress() as progress:
        smoked = use(progress, timeout_s=timeout_s)
    if json:
        report.print_json(smoked.to_json())
    else:
        rows = [[title, f"{taken:.1f} s", seen[:60]] for title, taken, seen in smoked.steps]
        report.print_table(["step", "time", "seen"], rows)


def _show(found: Any, as_json: bool) -> None:
    from pipeline import report

    if as_json:
        report.print_json(
            [
                {
                    "service": service.name,
                    "container": service.container,
                    "state": service.state,
                    "health": service.health,
                    "exit_code": service.exit_code,
                    "ports": service.ports,
                }
                for service in found
            ]
        )
    elif not found:
        print("no service is there; start them: invoke compose.up")
    else:
        rows = [[service.name, service.shown, service.ports] for service in found]
        report.print_table(["service", "state", "ports"], rows)


collection = Collection("compose", check, up, down, logs, ps, smoke)
