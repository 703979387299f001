"""`k8s.*` as people call them: exit codes, what is printed, one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import commands
from pipeline.errors import ManifestInvalid, OptionInvalid, RenderedStale, ToolMissing
from pipeline.helm.chart import CHART
from pipeline.helm.manifest import MANIFEST
from pipeline.kubernetes import check as checking
from pipeline.kubernetes import schemas
from pipeline.kubernetes.objects import KubernetesObject
from tests.unit.pipeline.kubernetes.release_factory import good
from tests.unit.pipeline.tasks.fake_programs import HelmOnPath
from tests.unit.pipeline.tasks.test_namespace import run

RENDERED = """\
---
# Source: accelerapp/templates/configmap.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {helm.sh/chart: accelerapp-0.1.0}}
"""
BAD = """\
# A pod of somebody.

apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  hostNetwork: true
  containers: [{name: a, image: a}]
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HelmOnPath:
    monkeypatch.chdir(tmp_path)
    made = HelmOnPath(tmp_path / "bin", monkeypatch)
    made.says("template.out", RENDERED)
    return made


def failure(capsys: Capture) -> str:
    """Return the error, which is the last line and the only one of its kind."""
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "Traceback" not in "".join(lines)
    return lines[-1]


# k8s.render


def test_render_writes_the_manifest_once(helm: HelmOnPath, tmp_path: Path, capsys: Capture) -> None:
    assert run("k8s.render", "--output=all.yaml") == 0
    assert capsys.readouterr().out == "all.yaml: written, 2 objects\n"
    text = (tmp_path / "all.yaml").read_text()
    assert "kind: Namespace" in text
    assert "helm.sh" not in text
    assert helm.asked[1].endswith(f"--values {commands.ROOT}/deployment/kubernetes/values.yaml")
    assert f"template accelerapp {commands.ROOT / CHART} " in helm.asked[1]
    assert run("k8s.render", "--output=all.yaml", "--check") == 0
    assert capsys.readouterr().out == "all.yaml: is current, 2 objects\n"


def test_render_checks_without_writing(helm: HelmOnPath, tmp_path: Path, capsys: Capture) -> None:
    run("k8s.render", "--output=all.yaml")
    text = (tmp_path / "all.yaml").read_text()
    (tmp_path / "all.yaml").write_text(text.replace("name: a\n", "name: b\n"))
    capsys.readouterr()
    assert run("k8s.render", "--output=all.yaml", "--check") == RenderedStale.exit_code == 23
    line = text.splitlines().index("  name: a") + 1
    assert failure(capsys) == (
        f"error: all.yaml:{line} is not what the chart renders; "
        "run 'invoke k8s.render' and commit it"
    )
    assert "name: b\n" in (tmp_path / "all.yaml").read_text()


def test_render_of_other_values(helm: HelmOnPath, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "own.yaml").write_text("")
    assert run("k8s.render", "--values=own.yaml", "--output=all.yaml") == 0
    assert helm.asked[1].endswith("--values own.yaml")
    assert "with own.yaml" in (tmp_path / "all.yaml").read_text()
    assert run("k8s.render", "--values=gone.yaml", "--output=all.yaml") == 100
    assert failure(capsys) == "error: there is no values file gone.yaml; name one that is"


def test_render_checks_the_committed_manifest(helm: HelmOnPath, capsys: Capture) -> None:
    before = (commands.ROOT / MANIFEST).read_bytes()
    assert run("k8s.render", "--check") == 23
    assert f"{MANIFEST}:" in failure(capsys)
    assert (commands.ROOT / MANIFEST).read_bytes() == before


# k8s.check


@pytest.fixture
def no_schemas(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Take the schemas away, which are not installed for these tests: all objects fit."""
    asked: list[tuple[str, str]] = []

    def against(found: KubernetesObject, version: str) -> Iterator[tuple[str, str]]:
        asked.append((found.title, version))
        return iter(())

    monkeypatch.setattr(schemas, "known_versions", lambda: ("1.28", "1.30", "1.37"))
    monkeypatch.setattr(checking, "against_schema", against)
    return asked


Asked = list[tuple[str, str]]


def release(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        YAML().dump_all([data for data in good().values() if data["kind"] != "Pod"], file)


def test_a_manifest_that_is_right(
    no_schemas: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    release(tmp_path / "good.yaml")
    assert run("k8s.check", "--file=good.yaml") == 0
    out = capsys.readouterr().out
    assert out.startswith("1 case, 17 objects, for Kubernetes 1.28, 1.37: nothing wrong, ")
    assert {version for _, version in no_schemas} == {"1.28", "1.37"}


def test_a_manifest_that_is_not(
    no_schemas: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(BAD)
    assert run("k8s.check", "--file=bad.yaml") == ManifestInvalid.exit_code == 101
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert "bad.yaml:3: restricted: Pod bad: hostNetwork: shares the node's; leave it out" in lines
    assert "bad.yaml:3: limits: Pod bad: a has no limits.memory" in lines
    assert lines == sorted(lines)
    assert shown.err.splitlines()[-1] == (
        f"error: {len(lines)} findings in 1 case; correct what is listed above"
    )


def test_findings_for_programs(
    no_schemas: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(BAD)
    assert run("k8s.check", "--file=bad.yaml", "--kubernetes=1.30", "--json") == 101
    found = json.loads(capsys.readouterr().out)
    assert (found["cases"], found["kubernetes"], found["objects"]) == (["bad.yaml"], ["1.30"], 1)
    assert {finding["place"] for finding in found["findings"]} == {"bad.yaml:3"}
    assert no_schemas == [("Pod bad", "1.30")]


def test_what_a_schema_refuses(
    no_schemas: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checking, "against_schema", lambda *_: iter([("spec", "no such field")]))
    (tmp_path / "bad.yaml").write_text(BAD)
    assert run("k8s.check", "--file=bad.yaml", "--kubernetes=1.28") == 101
    assert capsys.readouterr().out == (
        "bad.yaml:3: kubernetes-1.28: Pod bad: spec: no such field\n"
    )


def test_several_files_are_several_releases(
    no_schemas: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.yaml", "two.yaml"):
        release(tmp_path / name)
    assert run("k8s.check", "--file=one.yaml,two.yaml", "--file=one.yaml") == 0
    assert capsys.readouterr().out.startswith("3 cases, 51 objects")


def test_by_default_it_is_chart_and_manifest(
    helm: HelmOnPath, no_schemas: Asked, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(checking, "against_rules", lambda release: [])
    assert run("k8s.check", "--kubernetes=1.28") == 0
    cases = len(list((commands.ROOT / CHART / "ci").glob("*-values.yaml"))) + 2
    assert capsys.readouterr().out.startswith(f"{cases} cases, ")
    assert sum(line.startswith("template ") for line in helm.asked) == cases - 1
    assert no_schemas.count(("ConfigMap a", "1.28")) == cases - 1
    assert ("Deployment accelerapp", "1.28") in no_schemas


def test_values_alone_are_the_chart_with_them(
    helm: HelmOnPath, no_schemas: Asked, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "own.yaml").write_text("")
    assert run("k8s.check", "--values=own.yaml") == 101
    shown = capsys.readouterr()
    assert shown.out.startswith("own.yaml: templates/configmap.yaml: labels: ConfigMap a: has no")
    assert shown.err.splitlines()[-1].startswith("error: 1 finding in 1 case")
    assert len(helm.asked) == 2


def test_values_that_the_chart_refuses_are_findings(
    helm: HelmOnPath, no_schemas: Asked, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "own.yaml").write_text("")
    helm.says("template.err", "Error: x:\n- a is b\n")
    assert run("k8s.check", "--values=own.yaml") == 101
    assert capsys.readouterr().out == "own.yaml: helm-template: a is b\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "bad.yaml cannot be read: no such file or directory"),
        ("a: [", "bad.yaml:1: not YAML: "),
        ("kind: X\napiVersion: v1\n---\na: b: c\n", "bad.yaml:4: not YAML: "),
        ("\na: 1\n", "bad.yaml:2: no Kubernetes object; it needs apiVersion and kind"),
    ],
)
def test_a_file_that_is_no_manifest_is_one_line(
    no_schemas: Asked,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    content: str | None,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "bad.yaml").write_text(content)
    assert run("k8s.check", "--file=bad.yaml") == 101
    assert failure(capsys).startswith(f"error: {said}")


def nulls(data: Any) -> Any:
    """Return it with every number in it replaced with nothing."""
    if isinstance(data, dict):
        return {key: nulls(value) for key, value in data.items()}
    if isinstance(data, list):
        return [nulls(value) for value in data]
    return None if isinstance(data, int) and not isinstance(data, bool) else data


def test_numbers_that_are_left_open_are_no_traceback(
    no_schemas: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "nulls.yaml").open("w", encoding="utf-8") as file:
        YAML().dump_all([nulls(data) for data in good().values()], file)
    assert run("k8s.check", "--file=nulls.yaml") == 101
    assert failure(capsys).endswith("findings in 1 case; correct what is listed above")


def test_a_version_that_is_not_known_is_one_line(no_schemas: Asked, capsys: Capture) -> None:
    assert run("k8s.check", "--file=x.yaml", "--kubernetes=1.12") == OptionInvalid.exit_code
    assert failure(capsys) == (
        "error: Kubernetes '1.12' is not known; choose from 1.28 to 1.37, or all"
    )


def test_without_schemas_it_is_said_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def missing() -> tuple[str, ...]:
        raise ToolMissing("the schemas of Kubernetes are not here", hint="pip install them")

    monkeypatch.setattr(schemas, "known_versions", missing)
    assert run("k8s.check", "--file=x.yaml") == ToolMissing.exit_code
    assert failure(capsys) == "error: the schemas of Kubernetes are not here; pip install them"
