"""What is so: what the files of this repository say of images, services, objects and addresses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.compose.check import BASE, ENVIRONMENT, PROFILES
from pipeline.compose.document import environment_file, filled, read_file
from pipeline.deploy.release import COLOURS
from pipeline.errors import GuidesInvalid
from pipeline.guides import source
from pipeline.helm.chart import CHART
from pipeline.kubernetes.objects import KubernetesObject, read_objects
from pipeline.settings import Settings, read_settings
from pipeline.workflows.document import WORKFLOWS
from pipeline.yaml_text import NotYaml, load_plain, plain

COMPOSE = Path("deployment/docker")
MANIFEST = Path("deployment/kubernetes/accelerapp-deployment.yaml")
RULES = CHART / "templates" / "prometheusrule.yaml"
RELEASE = "accelerapp"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that service or monitor answers."""

    method: str
    path: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One family of series."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of the chart."""

    name: str
    severity: str
    summary: str
    action: str


@dataclass(frozen=True, slots=True)
class Command:
    """A task or a session, and its first sentence."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a workflow of GitHub's."""

    name: str
    title: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workflow:
    """One workflow of GitHub's."""

    file: str
    name: str
    triggers: tuple[str, ...]
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Facts:
    """All of it. `tasks` are those of `invoke --list`."""

    root: Path
    settings: Settings
    compose: Mapping[str, Mapping[str, Any]]
    """Services of the Compose file, with every variable at its default."""
    objects: Sequence[KubernetesObject]
    """Of the committed manifest."""
    values: Mapping[str, Any]
    """Of the chart."""
    service: Sequence[Endpoint]
    monitor: Sequence[Endpoint]
    tasks: Sequence[Command]

    @property
    def profiles(self) -> tuple[str, ...]:
        """Profiles of the stack."""
        return PROFILES

    def names(self, kind: str) -> set[str]:
        """Return the names of objects of a kind, those of blue and green included."""
        found = {one.name for one in self.objects if one.kind.lower() == kind}
        if kind in ("deployment", "horizontalpodautoscaler"):
            found |= {f"{RELEASE}-{colour}" for colour in COLOURS}
        if kind == "service":
            found |= {f"{RELEASE}-preview"}
        return found

    def port(self, target: str) -> int:
        """Return the port of an image."""
        return int(self.settings.merged(target).ports[0].partition("/")[0])

    @property
    def endpoints(self) -> Mapping[int, frozenset[str]]:
        """Paths that are answered, by the port that service and monitor have in their images."""
        return {
            self.port("production"): frozenset(one.path for one in self.service),
            self.port("monitoring"): frozenset(one.path for one in self.monitor),
        }


def read_facts(root: Path, tasks: Sequence[Command]) -> Facts:
    """Return what the files below `root` say; raises `PipelineError` for a file in disorder."""
    compose = read_file(root / COMPOSE / BASE, root)
    try:
        services = filled(plain(compose.data), {}).get("services", {})
    except ValueError as error:
        raise GuidesInvalid(f"{compose.name}: {error}", hint="correct it") from error
    manifest = root / MANIFEST
    return Facts(
        root,
        read_settings(root),
        services,
        read_objects(manifest.read_text(encoding="utf-8"), MANIFEST.as_posix()),
        _yaml(root / CHART / "values.yaml"),
        tuple(
            Endpoint(method, path, meaning)
            for address, meaning in source.mapping(
                root / "src/accelerapp/openapi.py", "SUMMARIES"
            ).items()
            for method, _, path in [address.partition(" ")]
        ),
        tuple(
            Endpoint("GET", path, meaning)
            for path, meaning in source.mapping(root / "monitoring/web.py", "PATHS").items()
        ),
        tasks,
    )


def service_metrics(root: Path) -> tuple[Metric, ...]:
    """Return what the service counts, but for its process and its Python."""
    kinds = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram"}
    kinds |= {"CounterMetricFamily": "counter", "GaugeMetricFamily": "gauge"}
    found = source.calls(root / "src/accelerapp/metrics.py", *kinds)
    return tuple(
        Metric(name, kinds[call], tuple(rest[0]) if rest and rest[0] else (), meaning)
        for call, (name, meaning, *rest) in found
    )


def monitor_metrics(root: Path) -> tuple[Metric, ...]:
    """Return what the monitor tells."""
    found = source.calls(root / "monitoring/metrics.py", "Family")
    return tuple(
        Metric(name, kind, labels, meaning) for _, (name, kind, labels, meaning, *_) in found
    )


_ALERT = re.compile(
    r'\(dict "alert" "(\w+)" "severity" "(\w+)" .*?'
    r'"summary" (?:"([^"]*)"|\(printf "([^"]*)"([^)]*)\))\s+"action" "([^"]*)"\)',
    re.DOTALL,
)


def alerts(root: Path, values: Mapping[str, Any]) -> tuple[Alert, ...]:
    """Return the chart's alerts, from the template that makes them and the values by default."""
    text = (root / RULES).read_text(encoding="utf-8")
    found = []
    for name, severity, said, template, given, action in _ALERT.findall(text):
        for path in re.findall(r"\.Values\.([\w.]+)", given):
            value: Any = values
            for key in path.split("."):
                value = value[key]
            template = template.replace("%v", str(value), 1)
        found.append(Alert(name, severity, said or template.replace("%%", "%"), action))
    written = text.count('dict "alert"')
    if not found or len(found) != written:
        raise GuidesInvalid(
            f"{RULES}: {written} alerts, and {len(found)} of them can be read",
            hint="write each as the others are",
        )
    return tuple(found)


def stack_variables(root: Path) -> tuple[tuple[str, str, str], ...]:
    """Return name, default and comment of each variable in `.env.example`.

    A comment is for the variables below it, up to the next comment.
    """
    path = root / COMPOSE / ENVIRONMENT
    values = environment_file(path)
    rows, comment, ended = [], "", True
    for line in path.read_text(encoding="utf-8").splitlines():
        if variable := re.match(r"#?([A-Z][A-Z0-9_]*)=", line):
            rows.append((variable[1], values[variable[1]] or "", comment))
            ended = True
        elif line.startswith("# "):
            comment = f"{'' if ended else comment} {line[2:].strip()}".strip()
            ended = False
        else:
            ended = True
    return tuple(rows)


def sessions(root: Path) -> tuple[Command, ...]:
    """Return nox's sessions."""
    found = source.decorated(root / "noxfile.py", "nox.session")
    return tuple(Command(name, meaning) for name, meaning in found)


def workflows(root: Path) -> tuple[Workflow, ...]:
    """Return GitHub's workflows of this repository, none where there is none."""
    return tuple(_workflow(path) for path in sorted((root / WORKFLOWS).glob("*.yml")))


def _workflow(path: Path) -> Workflow:
    data = _yaml(path)
    jobs = data.get("jobs") or {}
    return Workflow(
        path.name,
        str(data.get("name", path.stem)),
        tuple(_triggers(data.get("on"))),
        tuple(
            Job(name, str(job.get("name", name)), _listed(job.get("needs")))
            for name, job in jobs.items()
        ),
    )


def _triggers(on: Any) -> list[str]:
    if not isinstance(on, Mapping):
        return list(_listed(on))
    shown = []
    for event, filters in on.items():
        said = []
        for name, values in (filters or {}).items() if isinstance(filters, Mapping) else ():
            if name in ("branches", "tags", "paths"):
                said.append(f"{name} {', '.join(map(str, _listed(values)))}")
            elif name == "inputs" and values:
                said.append(f"inputs {', '.join(values)}")
        if event == "schedule" and isinstance(filters, list):
            said = [str(each.get("cron", "")) for each in filters]
        shown.append(f"{event} ({'; '.join(said)})" if said else str(event))
    return shown


def _listed(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))


def _yaml(path: Path) -> Mapping[str, Any]:
    try:
        data = load_plain(path.read_text(encoding="utf-8"))
    except NotYaml as error:
        raise GuidesInvalid(
            f"{error.place(str(path))}: {error.reason}", hint="correct it"
        ) from error
    if not isinstance(data, Mapping):
        raise GuidesInvalid(f"{path} is no mapping", hint="correct it")
    return data
