"""The chart without Helm: all objects of a release in one file, for `kubectl apply`.

What Helm alone needs (its labels, its hooks, the checksum that makes new pods of a changed
ConfigMap) is left out; the namespace, which a chart never makes, comes first.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.atomic import write_atomically
from pipeline.errors import RenderedStale
from pipeline.helm import commands
from pipeline.helm.chart import Chart, shown
from pipeline.helm.commands import Values
from pipeline.helm.render import NAMESPACE, RELEASE, render
from pipeline.kubernetes.objects import KubernetesObject, mapping, read_objects
from pipeline.process import Runner

MANIFEST = Path("deployment/kubernetes/accelerapp-deployment.yaml")
VALUES = Path("deployment/kubernetes/values.yaml")
_MANAGER = "app.kubernetes.io/managed-by"
_HELM_LABELS = ("helm.sh/chart",)
_HELM_ANNOTATIONS = ("checksum/config", "helm.sh/resource-policy")
_HEAD = """\
# {name} {version} on Kubernetes without Helm: rendered by 'invoke k8s.render' from
# {chart} with {values}. Change those, not this.
#
#   kubectl apply --filename {manifest}
#   kubectl --namespace {namespace} rollout status deployment/{release}
#
# A changed ConfigMap needs new pods:
#   kubectl --namespace {namespace} rollout restart deployment/{release}
"""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A manifest. `was_current` says whether the file already was this."""

    path: Path
    objects: int
    was_current: bool


def manifest_text(
    helm: str,
    chart: Chart,
    values: Values,
    path: Path,
    runner: Runner,
    *,
    name_of: Callable[[Path], str] = shown,
) -> str:
    """Return the manifest; raises `ChartInvalid` for values that the chart refuses.

    `name_of` is how its head names files.
    """
    objects = read_objects(render(helm, chart.folder, values, runner), values.title)
    head = _HEAD.format(
        name=chart.name,
        version=chart.app_version,
        chart=name_of(chart.folder),
        values=", ".join(name_of(file) for file in values.files),
        manifest=name_of(path),
        namespace=NAMESPACE,
        release=RELEASE,
    )
    kept = [_namespace(), *(_without_helm(found) for found in objects if not found.is_hook)]
    return head + "".join(f"---\n{_yaml(data)}" for data in kept)


def write_manifest(
    chart: Chart, values: Path, path: Path, runner: Runner, *, check: bool
) -> Rendered:
    """Write the manifest, or with `check` only look; raises `RenderedStale` with the first line
    that differs."""
    helm = commands.find_helm(runner)
    text = manifest_text(helm, chart, Values((values,)), path, runner)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if check and before != text:
        raise RenderedStale(
            f"{shown(path)}:{_first_difference(before, text)} is not what the chart renders",
            hint="run 'invoke k8s.render' and commit it",
        )
    if before != text:
        write_atomically(path, text.encode())
    return Rendered(path, text.count("\n---\n"), before == text)


def _namespace() -> dict[str, Any]:
    levels = {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": levels},
    }


def _without_helm(found: KubernetesObject) -> dict[str, Any]:
    data = dict(found.data)
    data["metadata"] = _metadata(found.metadata)
    if found.template and "template" in found.spec:
        template = dict(found.template)
        template["metadata"] = _metadata(mapping(template.get("metadata")))
        data["spec"] = {**found.spec, "template": template}
    return data


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(metadata)
    for field, dropped in (("labels", _HELM_LABELS), ("annotations", _HELM_ANNOTATIONS)):
        entries = {k: v for k, v in mapping(kept.pop(field, None)).items() if k not in dropped}
        if _MANAGER in entries:
            entries[_MANAGER] = "kubectl"
        if entries:
            kept[field] = entries
    return kept


def _yaml(data: Mapping[str, Any]) -> str:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 100
    yaml.representer.ignore_aliases = lambda *_: True
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def _first_difference(before: str, after: str) -> int:
    lines: Sequence[tuple[str, str]] = list(
        zip(before.splitlines(), after.splitlines(), strict=False)
    )
    return next((n for n, (a, b) in enumerate(lines, 1) if a != b), len(lines) + 1)
