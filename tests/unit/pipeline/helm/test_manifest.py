"""The chart without Helm: what is rendered, and what of it is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import tools
from pipeline.errors import ChartInvalid, OutputUnwritable, RenderedStale, ToolMissing
from pipeline.helm.chart import read_chart
from pipeline.helm.manifest import Rendered, write_manifest
from pipeline.kubernetes.objects import KubernetesObject, read_objects
from tests.unit.pipeline.helm.chart_factory import CHART_YAML, make_chart
from tests.unit.pipeline.helm.fake_helm import FakeHelm

RENDERED = """\
---
# Source: demo/templates/pvc.yaml
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
  annotations: {helm.sh/resource-policy: keep}
  labels: {helm.sh/chart: demo-0.1.0}
---
# Source: demo/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: accelerapp
  labels:
    app.kubernetes.io/name: web
    app.kubernetes.io/managed-by: Helm
    helm.sh/chart: demo-0.1.0
  annotations: {own.example/a: b}
spec:
  replicas: 1
  selector: &labels
    matchLabels: {app: web}
  template:
    metadata:
      labels:
        app: web
        app.kubernetes.io/managed-by: Helm
        helm.sh/chart: demo-0.1.0
      annotations: {checksum/config: 0123, own.example/c: d}
    spec: {containers: [{name: web, image: a, args: ["yes", "8", "%s"]}], other: *labels}
---
# Source: demo/templates/cron.yaml
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 1 * * *"
  jobTemplate:
    spec:
      template:
        spec: {containers: []}
---
# Source: demo/templates/tests/pod.yaml
apiVersion: v1
kind: Pod
metadata: {name: test, annotations: {helm.sh/hook: test}}
spec: {containers: []}
---
# Source: demo/templates/pod.yaml
apiVersion: v1
kind: Pod
metadata: {name: pod, labels: {helm.sh/chart: demo-0.1.0, a: b}}
spec: {containers: []}
""".replace("%s", "x" * 120)


@pytest.fixture(autouse=True)
def helm_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: f"/opt/{name}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_chart(tmp_path / "charts/demo", CHART_YAML + 'appVersion: "9.8.7"\n')
    (tmp_path / "own.yaml").write_text("a: 2\n")
    return tmp_path


def write(folder: Path, helm: FakeHelm, *, check: bool = False) -> Rendered:
    chart = read_chart(folder / "charts/demo")
    return write_manifest(chart, folder / "own.yaml", folder / "out/all.yaml", helm, check=check)


def made(folder: Path) -> dict[str, KubernetesObject]:
    text = (folder / "out/all.yaml").read_text(encoding="utf-8")
    return {found.title: found for found in read_objects(text, "all.yaml")}


def test_helm_renders_the_values_for_a_cluster_of_today(folder: Path) -> None:
    helm = FakeHelm(RENDERED)
    write(folder, helm)
    version, template = helm.calls
    assert version[1] == "version"
    assert template[:4] == ("/opt/helm", "template", "accelerapp", str(folder / "charts/demo"))
    assert template[-2:] == ("--values", str(folder / "own.yaml"))
    assert "--kube-version" in template


def test_the_namespace_comes_first_and_is_restricted(folder: Path) -> None:
    write(folder, FakeHelm(RENDERED))
    title, first = next(iter(made(folder).items()))
    assert title == "Namespace accelerapp"
    assert dict(first.data) == {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "accelerapp",
            "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/audit": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            },
        },
    }


def test_objects_stay_in_their_order_and_hooks_are_left_out(folder: Path) -> None:
    write(folder, FakeHelm(RENDERED))
    assert list(made(folder)) == [
        "Namespace accelerapp",
        "PersistentVolumeClaim data",
        "Deployment web",
        "CronJob nightly",
        "Pod pod",
    ]


def test_what_helm_alone_needs_is_gone(folder: Path) -> None:
    write(folder, FakeHelm(RENDERED))
    text = (folder / "out/all.yaml").read_text(encoding="utf-8")
    assert "helm.sh" not in text
    assert "checksum" not in text
    found = made(folder)
    assert dict(found["PersistentVolumeClaim data"].metadata) == {"name": "data"}
    assert dict(found["Pod pod"].metadata) == {"name": "pod", "labels": {"a": "b"}}
    web = found["Deployment web"]
    assert dict(web.metadata) == {
        "name": "web",
        "namespace": "accelerapp",
        "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/managed-by": "kubectl"},
        "annotations": {"own.example/a": "b"},
    }
    assert web.template["metadata"] == {
        "labels": {"app": "web", "app.kubernetes.io/managed-by": "kubectl"},
        "annotations": {"own.example/c": "d"},
    }


def test_all_else_is_as_helm_rendered_it(folder: Path) -> None:
    write(folder, FakeHelm(RENDERED))
    before = {found.title: found for found in read_objects(RENDERED, "x") if not found.is_hook}
    for title, found in made(folder).items():
        if title == "Namespace accelerapp":
            continue
        assert without_metadata(found) == without_metadata(before[title])
    text = (folder / "out/all.yaml").read_text(encoding="utf-8")
    assert "&" not in text
    assert "*labels" not in text


def without_metadata(found: KubernetesObject) -> dict[str, Any]:
    data = {key: value for key, value in found.data.items() if key != "metadata"}
    if found.kind == "Deployment":
        template = {**found.template, "metadata": None}
        data["spec"] = {**found.spec, "template": template}
    return data


def test_its_head_says_where_it_is_from_and_what_to_do(folder: Path) -> None:
    write(folder, FakeHelm(RENDERED))
    head, _, _ = (folder / "out/all.yaml").read_text(encoding="utf-8").partition("---\n")
    assert head.splitlines()[:2] == [
        "# demo 9.8.7 on Kubernetes without Helm: rendered by 'invoke k8s.render' from",
        "# charts/demo with own.yaml. Change those, not this.",
    ]
    assert "#   kubectl apply --filename out/all.yaml\n" in head
    assert "rollout restart deployment/accelerapp" in head
    assert all(line.startswith("#") for line in head.splitlines())


def test_what_was_written_is_current_the_next_time(folder: Path) -> None:
    path = folder / "out/all.yaml"
    assert write(folder, FakeHelm(RENDERED)) == Rendered(path, 5, False)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    assert write(folder, FakeHelm(RENDERED)) == Rendered(path, 5, True)
    assert write(folder, FakeHelm(RENDERED), check=True) == Rendered(path, 5, True)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [found.name for found in path.parent.iterdir()] == ["all.yaml"]


def stale(folder: Path) -> str:
    with pytest.raises(RenderedStale) as caught:
        write(folder, FakeHelm(RENDERED), check=True)
    assert caught.value.exit_code == 23
    assert caught.value.hint == "run 'invoke k8s.render' and commit it"
    return caught.value.message


def test_a_check_names_the_first_line_that_differs(folder: Path) -> None:
    path = folder / "out/all.yaml"
    assert stale(folder) == "out/all.yaml:1 is not what the chart renders"
    assert not path.exists()
    write(folder, FakeHelm(RENDERED))
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if "replicas: 1" in line)
    changed = [*lines[:at], "  replicas: 2\n", *lines[at + 1 : -1], "# other\n"]
    path.write_text("".join(changed))
    assert stale(folder) == f"out/all.yaml:{at + 1} is not what the chart renders"
    assert path.read_text(encoding="utf-8") == "".join(changed)
    path.write_text("".join(lines[:-1]))
    assert stale(folder) == f"out/all.yaml:{len(lines)} is not what the chart renders"
    path.write_text("".join([*lines, "# more\n"]))
    assert stale(folder) == f"out/all.yaml:{len(lines) + 1} is not what the chart renders"


def test_values_that_the_chart_refuses_change_nothing(folder: Path) -> None:
    write(folder, FakeHelm(RENDERED))
    before = (folder / "out/all.yaml").read_bytes()
    helm = FakeHelm()
    helm.refused["template", "own.yaml"] = "Error: x:\n- a is b\n"
    with pytest.raises(ChartInvalid, match=r"own\.yaml: a is b"):
        write(folder, helm)
    assert (folder / "out/all.yaml").read_bytes() == before


def test_values_that_are_not_there_are_refused(folder: Path) -> None:
    (folder / "own.yaml").unlink()
    with pytest.raises(ChartInvalid, match="there is no values file"):
        write(folder, FakeHelm(RENDERED))


def test_without_a_helm_nothing_is_rendered(folder: Path) -> None:
    with pytest.raises(ToolMissing):
        write(folder, FakeHelm(RENDERED, version="Client: v2.17.0"))
    assert not (folder / "out").exists()


def test_a_place_that_cannot_be_written_is_said(folder: Path) -> None:
    (folder / "out").write_text("a file")
    with pytest.raises(OutputUnwritable):
        write(folder, FakeHelm(RENDERED))


def test_a_failure_half_way_leaves_the_old_manifest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "out/all.yaml"
    path.parent.mkdir()
    path.write_text("old\n")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputUnwritable):
        write(folder, FakeHelm(RENDERED))
    assert path.read_text() == "old\n"
    assert [found.name for found in path.parent.iterdir()] == ["all.yaml"]
