"""The sections of guides that code fills, each a table in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pipeline import errors, variables
from pipeline.errors import PipelineError
from pipeline.guides import facts as read
from pipeline.guides import source
from pipeline.guides.facts import Command, Endpoint, Facts, Metric
from pipeline.guides.sections import Render

INTERRUPTED = (130, "Interrupted: the line says in what state that leaves things.", "")


def renders(facts: Facts) -> Mapping[str, Render]:
    """Return what fills each section, by its name."""
    root = facts.root
    return {
        "exit-codes": exit_codes,
        "tasks": partial(_commands, "task", facts.tasks, "invoke "),
        "sessions": lambda: _commands("session", read.sessions(root), "nox -s "),
        "workflows": lambda: _workflows(read.workflows(root)),
        "images": partial(_images, facts),
        "compose-services": partial(_compose, facts),
        "kubernetes-deployments": partial(_deployments, facts),
        "service-settings": lambda: _settings(
            source.calls(root / "src/accelerapp/settings.py", "Variable")
        ),
        "monitor-settings": lambda: _settings(
            source.calls(root / "monitoring/settings.py", "Variable")
        ),
        "stack-settings": lambda: _table(
            ("variable", "default", "meaning"),
            [
                (_code(name), _code(value.partition("@")[0]), said)
                for name, value, said in read.stack_variables(root)
            ],
        ),
        "build-settings": partial(_variables, variables.BUILD),
        "registry-settings": partial(_variables, variables.REGISTRY),
        "engine-settings": partial(_variables, variables.ENGINES),
        "tool-settings": partial(_variables, variables.TOOLS),
        "repository-settings": partial(_variables, variables.REPOSITORY),
        "ci-settings": partial(_variables, variables.CI),
        "service-endpoints": partial(_endpoints, facts.service, with_method=True),
        "monitor-endpoints": partial(_endpoints, facts.monitor, with_method=False),
        "service-metrics": lambda: _metrics(read.service_metrics(root)),
        "monitor-metrics": lambda: _metrics(read.monitor_metrics(root)),
        "alerts": lambda: _table(
            ("alert", "severity", "meaning", "first thing to do"),
            [
                (f"`{one.name}`", one.severity, one.summary, one.action)
                for one in read.alerts(root, facts.values)
            ],
        ),
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(cells) for cells in (head, *([_cell(c) for c in row] for row in rows))]
    lines.insert(1, "|".join("---" for _ in head))
    return "\n".join(f"|{line}|" if i == 1 else f"| {line} |" for i, line in enumerate(lines))


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def every_error(base: type[PipelineError] = PipelineError) -> Iterator[type[PipelineError]]:
    """Give each error that has an exit code of its own."""
    for error in base.__subclasses__():
        if error.__module__ == errors.__name__:
            yield error
            yield from every_error(error)


def exit_codes() -> str:
    """Return the exit codes of all tasks, with what the docstrings of their errors say."""
    rows = []
    for error in every_error():
        meaning, _, remedy = (error.__doc__ or "").partition("\n\n")
        rows.append((error.exit_code, _sentence(meaning), _sentence(remedy)))
    return _table(
        ("code", "meaning", "what to do"),
        [(str(code), *words) for code, *words in sorted([*rows, INTERRUPTED])],
    )


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _commands(kind: str, commands: Sequence[Command], prefix: str) -> str:
    return _table(
        (kind, "what it does"), [(f"`{prefix}{one.name}`", one.meaning) for one in commands]
    )


def _settings(calls: Sequence[tuple[str, tuple[Any, ...]]]) -> str:
    # An empty cell is two blanks: the monitor's own test reads the table so.
    rows = [(f"`{name}`", _code(default), meaning) for _, (name, default, meaning) in calls]
    return _table(("variable", "default", "meaning"), rows)


def _variables(rows: Sequence[variables.Variable]) -> str:
    return _table(
        ("variable", "default", "meaning"),
        [(f"`{one.name}`", one.default, one.meaning) for one in rows],
    )


def _endpoints(endpoints: Sequence[Endpoint], *, with_method: bool) -> str:
    if with_method:
        rows = [(f"`{one.method} {one.path}`", one.meaning) for one in endpoints]
        return _table(("address", "what it answers"), rows)
    return _table(
        ("path", "what it answers"), [(f"`{one.path}`", one.meaning) for one in endpoints]
    )


def _metrics(metrics: Sequence[Metric]) -> str:
    return _table(
        ("metric", "type", "labels", "meaning"),
        [
            (f"`{one.name}`", one.kind, ", ".join(map(_code, one.labels)), one.meaning)
            for one in metrics
        ],
    )


def _images(facts: Facts) -> str:
    rows = []
    for name in facts.settings.images:
        image = facts.settings.merged(name)
        user = f"{image.user.name}, {image.user.uid}:{image.user.gid}" if image.user else "root"
        command = " ".join([*(image.entrypoint or ()), *(image.command or ())])
        rows.append(
            (
                f"`{name}`",
                image.description,
                user,
                ", ".join(port.partition("/")[0] for port in image.ports),
                ", ".join(map(_code, image.volumes)),
                _code(command),
            )
        )
    return _table(("target", "what it is", "user", "port", "volumes", "runs"), rows)


def _compose(facts: Facts) -> str:
    rows = []
    for name, service in facts.compose.items():
        limits = service["deploy"]["resources"]["limits"]
        ports = [re.sub(r":(\d+)$", r" → \1", str(port)) for port in service.get("ports", ())]
        image = str(service["image"]).partition("@")[0]
        rows.append(
            (
                f"`{name}`",
                _code(image),
                ", ".join(f"profile `{one}`" for one in service.get("profiles", ())) or "always",
                ", ".join(ports),
                f"{limits['cpus']} CPU, {limits['memory']}, {limits['pids']} processes",
            )
        )
    return _table(("service", "image", "on", "published", "limits"), rows)


_PARTS = {"": "always", "monitor": "`monitor.enabled`", "ollama": "`ollama.enabled`"}
_PARTS |= {"redis": "`redis.enabled`"}


def _deployments(facts: Facts) -> str:
    rows = []
    for part, when in _PARTS.items():
        values = facts.values[part] if part else facts.values
        count = f"; {facts.values['replicas']} pods" if not part else ""
        resources = values["resources"]
        rows.append(
            (
                f"`{read.RELEASE}{'-' if part else ''}{part}`",
                when + count,
                _quantities(resources["requests"]),
                _quantities(resources["limits"]),
            )
        )
    return _table(("deployment", "on", "requests", "limits"), rows)


def _quantities(resources: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in resources.items() if value is not None)


def _workflows(workflows: Sequence[read.Workflow]) -> str:
    if not workflows:
        return "There are no workflows."
    blocks = []
    for one in workflows:
        rows = [(f"`{job.name}`", job.title, ", ".join(map(_code, job.needs))) for job in one.jobs]
        runs = "; ".join(one.triggers)
        blocks.append(
            f"**`{one.file}`** runs on {runs}.\n\n{_table(('job', 'name', 'after'), rows)}"
        )
    return "\n\n".join(blocks)
