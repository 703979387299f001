"""Objects out of YAML documents, and the ways in which one leads to another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ManifestInvalid
from pipeline.yaml_text import NotYaml, load_plain

WORKLOADS = frozenset(
    {
        "CronJob",
        "DaemonSet",
        "Deployment",
        "Job",
        "Pod",
        "ReplicaSet",
        "ReplicationController",
        "StatefulSet",
    }
)
LASTING = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
"""Workloads whose containers are meant to run for ever."""
_SOURCE = re.compile(r"^# Source: [^/\s]+/(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class KubernetesObject:
    """One object. `place` is the file and line, or the template, that it comes from."""

    data: Mapping[str, Any]
    place: str

    @property
    def kind(self) -> str:
        return str(self.data.get("kind", ""))

    @property
    def api_version(self) -> str:
        return str(self.data.get("apiVersion", ""))

    @property
    def metadata(self) -> Mapping[str, Any]:
        return mapping(self.data.get("metadata"))

    @property
    def name(self) -> str:
        return str(self.metadata.get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace", ""))

    @property
    def labels(self) -> Mapping[str, Any]:
        return mapping(self.metadata.get("labels"))

    @property
    def spec(self) -> Mapping[str, Any]:
        return mapping(self.data.get("spec"))

    @property
    def title(self) -> str:
        """Return what people call it: `Deployment accelerapp`."""
        return f"{self.kind} {self.name}"

    @property
    def is_hook(self) -> bool:
        """Whether helm makes it for a moment, such as for `helm test`."""
        return "helm.sh/hook" in mapping(self.metadata.get("annotations"))

    @property
    def template(self) -> Mapping[str, Any]:
        """The pod (metadata and spec) that a workload makes; empty for what is none."""
        if self.kind == "Pod":
            return self.data
        if self.kind == "CronJob":
            job = mapping(mapping(self.spec.get("jobTemplate")).get("spec"))
            return mapping(job.get("template"))
        return mapping(self.spec.get("template")) if self.kind in WORKLOADS else {}

    @property
    def pod(self) -> Mapping[str, Any]:
        """The spec of that pod."""
        return mapping(self.template.get("spec"))

    @property
    def pod_labels(self) -> Mapping[str, Any]:
        return mapping(mapping(self.template.get("metadata")).get("labels"))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def items(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings in a list; nothing of what is no list."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    return [entry for entry in value if isinstance(entry, Mapping)]


def containers(pod: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every container of a pod's spec, with the field that it is in."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(items(pod.get(field))):
            yield f"{field}[{index}]", container


def selects(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether equality-based labels (`matchLabels`, a Service's selector) fit; an empty selector
    selects nothing here, since nobody here means everything by it."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def fits(selector: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    """Whether labels fit a LabelSelector (`matchLabels`, `matchExpressions`); an empty one is
    everything."""
    if any(labels.get(k) != v for k, v in mapping(selector.get("matchLabels")).items()):
        return False
    return all(_expressed(one, labels) for one in items(selector.get("matchExpressions")))


def _expressed(expression: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
    key, values = str(expression.get("key")), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def read_objects(text: str, place: str) -> tuple[KubernetesObject, ...]:
    """Return the objects in a text of YAML documents, in their order.

    What helm rendered says which template it comes from, and that is its place; else it is
    `place` with the line.  Raises `ManifestInvalid` for what is not YAML, or no object.
    """
    found = []
    line = 1
    for document in re.split(r"^---[ \t]*(?:#.*)?$", text, flags=re.MULTILINE):
        source = _SOURCE.search(document)
        where = source[1] if source else f"{place}:{_first_line(document, line)}"
        try:
            data = load_plain(document)
        except NotYaml as error:
            at = error.place(place, line) if error.line is not None else f"{place}:{line}"
            hint = "correct it" if error.line is not None else ""
            raise ManifestInvalid(f"{at}: not YAML: {error.reason}", hint=hint) from error
        line += document.count("\n")
        if data is None:
            continue
        if not isinstance(data, dict) or not data.get("kind") or not data.get("apiVersion"):
            raise ManifestInvalid(
                f"{where}: no Kubernetes object", hint="it needs apiVersion and kind"
            )
        parts = items(data.get("items")) if data["kind"] == "List" else [data]
        found += [KubernetesObject(part, where) for part in parts]
    return tuple(found)


def _first_line(document: str, line: int) -> int:
    """Return the line of the first thing in a document that is no comment."""
    for offset, text in enumerate(document.split("\n")):
        if text.strip() and not text.lstrip().startswith("#"):
            return line + offset
    return line
