"""All cases of a chart, as helm sees them and as the objects that come of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import pipeline.helm.lint as subject
from pipeline import tools
from pipeline.errors import ManifestInvalid, ToolMissing
from pipeline.findings import Finding
from pipeline.helm import commands
from pipeline.helm.commands import Values
from pipeline.helm.lint import check, lint
from pipeline.kubernetes.objects import KubernetesObject
from pipeline.process import Runner
from pipeline.report import Silent
from pipeline.settings import Settings, read_settings
from tests.unit.pipeline.helm.fake_helm import FakeHelm

ROOT = Path(__file__).parents[4]
SETTINGS = read_settings(ROOT)
CHART = Path("charts/demo")
OBJECT = "# Source: demo/templates/a.yaml\napiVersion: v1\nkind: Thing\nmetadata: {name: a}\n"
VERSIONS = ("1.28", "1.37")


class Notes(Silent):
    """Remembers the steps and what is said of each."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, Any]] = []

    def step(self, title: str, *, total_bytes: int | None = None) -> Any:
        context = super().step(title, total_bytes=total_bytes)
        notes = self.steps

        class Step:
            def __enter__(self) -> Any:
                entered = context.__enter__()
                notes.append((title, entered))
                return entered

            def __exit__(self, *error: Any) -> Any:
                return context.__exit__(*error)

        return Step()

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(title, step.text) for title, step in self.steps]


@pytest.fixture(autouse=True)
def helm_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: f"/opt/{name}")


@pytest.fixture
def cases(tmp_path: Path) -> tuple[Values, ...]:
    files = [tmp_path / f"{name}-values.yaml" for name in "cab"]
    for file in files:
        file.write_text("")
    return (Values(), *(Values((file,)) for file in files))


# helm lint.


def test_helm_is_asked_about_each_case(cases: tuple[Values, ...]) -> None:
    helm, notes = FakeHelm(), Notes()
    checked = lint(CHART, cases, notes, helm)
    assert helm.calls[0] == ("/opt/helm", "version", "--short")
    assert sorted(helm.calls[1:]) == sorted(
        commands.lint("/opt/helm", CHART, values) for values in cases
    )
    assert {tuple(options) for options in helm.options} == {("timeout_s",)}
    assert checked.findings == []
    assert checked.cases == ["values.yaml", "c-values.yaml", "a-values.yaml", "b-values.yaml"]
    assert checked.seconds > 0
    assert notes.told == [("helm lint --strict", "4 sets of values")]


def test_each_reason_of_each_case_is_a_finding(cases: tuple[Values, ...]) -> None:
    helm = FakeHelm()
    helm.refused["lint", "c-values.yaml"] = "- at '/b': wrong\n- at '/a': wrong\n"
    helm.refused["lint", ""] = "Error: no chart\n"
    assert [str(finding) for finding in lint(CHART, cases, Silent(), helm).findings] == [
        "c-values.yaml: helm-lint: a: wrong",
        "c-values.yaml: helm-lint: b: wrong",
        "values.yaml: helm-lint: no chart",
    ]


def test_without_a_helm_that_is_supported_nothing_is_asked(cases: tuple[Values, ...]) -> None:
    helm = FakeHelm(version="Client: v2.17.0+g1\n")
    for run in (
        lambda: lint(CHART, cases, Silent(), helm),
        lambda: check(CHART, cases, (), SETTINGS, VERSIONS, Silent(), helm),
    ):
        with pytest.raises(ToolMissing, match="is Helm v2"):
            run()
    assert {argv[1] for argv in helm.calls} == {"version"}


# The objects.


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """Replace the checks of objects: each object called `bad` is a finding."""
    asked: list[tuple[str, tuple[str, ...]]] = []

    def check_objects(
        objects: Sequence[KubernetesObject], settings: Settings, versions: Sequence[str]
    ) -> list[Finding]:
        assert settings is SETTINGS
        asked.extend((one.place, tuple(versions)) for one in objects)
        return [Finding(one.place, "rule", "bad") for one in objects if one.name == "bad"]

    monkeypatch.setattr(subject, "check_objects", check_objects)
    return asked


Asked = list[tuple[str, tuple[str, ...]]]


def test_the_objects_of_each_case_are_checked(cases: tuple[Values, ...], looked_at: Asked) -> None:
    helm, notes = FakeHelm(f"{OBJECT}---\n{OBJECT}"), Notes()
    checked = check(CHART, cases, (), SETTINGS, VERSIONS, notes, helm)
    assert sorted(set(looked_at)) == [
        (f"{title}: templates/a.yaml", VERSIONS)
        for title in ("a-values.yaml", "b-values.yaml", "c-values.yaml", "values.yaml")
    ]
    assert (checked.objects, checked.findings, checked.versions) == (8, [], VERSIONS)
    assert notes.told == [("objects for Kubernetes 1.28, 1.37", "8 of 4 sets of values")]
    assert json.loads(json.dumps(checked.to_json())) == {
        "cases": ["values.yaml", "c-values.yaml", "a-values.yaml", "b-values.yaml"],
        "kubernetes": ["1.28", "1.37"],
        "objects": 8,
        "seconds": round(checked.seconds, 3),
        "findings": [],
    }
    assert checked.seconds > 0


def test_a_case_that_helm_refuses_stops_no_other(
    cases: tuple[Values, ...], looked_at: Asked
) -> None:
    helm = FakeHelm(OBJECT.replace("name: a", "name: bad"))
    helm.refused["template", "a-values.yaml"] = "Error: x:\n- a is b\n- c is d\n"
    checked = check(CHART, cases, (), SETTINGS, VERSIONS, Silent(), helm)
    assert [str(finding) for finding in checked.findings] == [
        "a-values.yaml: helm-template: a is b; c is d",
        "b-values.yaml: templates/a.yaml: rule: bad",
        "c-values.yaml: templates/a.yaml: rule: bad",
        "values.yaml: templates/a.yaml: rule: bad",
    ]
    assert checked.objects == 3
    assert checked.to_json()["findings"][0] == {
        "place": "a-values.yaml",
        "rule": "helm-template",
        "message": "a is b; c is d",
    }


def test_what_helm_made_and_nobody_can_read_stops_it(
    cases: tuple[Values, ...], looked_at: Asked
) -> None:
    with pytest.raises(ManifestInvalid, match="not YAML"):
        check(CHART, cases, (), SETTINGS, VERSIONS, Silent(), FakeHelm("a: ["))


def no_helm(argv: tuple[str, ...], **_: Any) -> Any:
    raise AssertionError("helm is not needed")


def test_manifests_alone_need_no_helm(tmp_path: Path, looked_at: Asked) -> None:
    one, two = tmp_path / "z.yaml", tmp_path / "a.yaml"
    one.write_text("\napiVersion: v1\nkind: Thing\nmetadata: {name: bad}\n")
    two.write_text("apiVersion: v1\nkind: Thing\nmetadata: {name: bad}\n---\n# nothing\n")
    notes, runner = Notes(), no_helm
    as_runner: Runner = runner
    checked = check(CHART, (), (one, two), SETTINGS, VERSIONS, notes, as_runner)
    assert looked_at == [(f"{one}:2", VERSIONS), (f"{two}:1", VERSIONS)]
    assert [finding.place for finding in checked.findings] == [f"{two}:1", f"{one}:2"]
    assert checked.cases == [str(one), str(two)]
    assert checked.objects == 2
    assert notes.told == [(str(one), "1 objects"), (str(two), "1 objects")]


def test_chart_and_manifests_are_counted_together(
    cases: tuple[Values, ...], tmp_path: Path, looked_at: Asked
) -> None:
    (tmp_path / "m.yaml").write_text(OBJECT)
    manifests = (tmp_path / "m.yaml",)
    checked = check(CHART, cases[:2], manifests, SETTINGS, ("1.30",), Silent(), FakeHelm(OBJECT))
    assert checked.objects == 3
    assert checked.cases == ["values.yaml", "c-values.yaml", str(tmp_path / "m.yaml")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: no such file"),
        (b"\xff", "cannot be read: not UTF-8"),
        (b"a: [", ":1: not YAML"),
        (b"a: 1\n", ":1: no Kubernetes object"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_one_line(
    tmp_path: Path, looked_at: Asked, content: bytes | None, said: str
) -> None:
    path = tmp_path / "m.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestInvalid) as caught:
        check(CHART, (), (path,), SETTINGS, VERSIONS, Silent(), no_helm)
    assert str(caught.value).startswith(str(path))
    assert said.lower() in str(caught.value).lower()
    assert "\n" not in str(caught.value)
