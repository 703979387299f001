"""A chart rendered by a made-up helm: what is asked, and what comes of the answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ChartInvalid, ManifestInvalid
from pipeline.helm import commands
from pipeline.helm.commands import Values
from pipeline.helm.render import cases, chosen, render, rendered_objects
from tests.unit.pipeline.helm.fake_helm import FakeHelm

CHART = Path("charts/demo")
TEXT = """\
---
# Source: demo/templates/a.yaml
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
---
apiVersion: v1
kind: Service
metadata: {name: b}
"""


def test_helm_is_asked_once_and_its_answer_is_the_text(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("")
    helm = FakeHelm(TEXT)
    assert render("helm", CHART, Values((file,), ("a=1",)), helm) == TEXT
    assert helm.calls == [
        (
            *("helm", "template", "accelerapp", "charts/demo", "--namespace", "accelerapp"),
            *("--kube-version", commands.KUBERNETES, "--values", str(file), "--set", "a=1"),
        )
    ]
    assert helm.options == [{"timeout_s": commands.TIMEOUT_S}]


def test_release_namespace_and_version_can_be_others() -> None:
    helm = FakeHelm()
    render("h", CHART, Values(), helm, release="r", namespace="n", kubernetes="1.30.1")
    assert helm.calls == [
        ("h", "template", "r", str(CHART), "--namespace", "n", "--kube-version", "1.30.1")
    ]


def test_what_helm_refuses_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("")
    helm = FakeHelm()
    helm.refused["template", "own.yaml"] = "Error: x:\n- a is b\n- c is d\n"
    with pytest.raises(ChartInvalid) as caught:
        render("helm", CHART, Values((file,)), helm)
    assert caught.value.message == "own.yaml: a is b; c is d"


@pytest.mark.parametrize("values", [Values((Path("gone.yaml"),)), Values(settings=("a",))])
def test_helm_is_not_asked_about_values_that_are_none(values: Values) -> None:
    helm = FakeHelm()
    with pytest.raises(ChartInvalid):
        render("helm", CHART, values, helm)
    assert helm.calls == []


def test_objects_have_the_values_and_their_template_for_a_place() -> None:
    values = Values((Path("ci/gpu-values.yaml"),))
    one, two = rendered_objects(TEXT, values)
    assert one.place == "gpu-values.yaml: templates/a.yaml"
    assert (one.kind, one.name, two.kind) == ("ConfigMap", "a", "Service")
    assert two.place == "gpu-values.yaml: gpu-values.yaml:7"


def test_what_is_no_object_is_told_with_the_values() -> None:
    with pytest.raises(ManifestInvalid, match=r"values\.yaml:1: not YAML"):
        rendered_objects("a: [", Values())


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "ci"
    folder.mkdir()
    for name in ("b-values.yaml", "a-values.yaml", "values.yaml", "c-values.yml", "README.md"):
        (folder / name).write_text("")
    return tmp_path


def test_the_cases_are_the_charts_own_values_and_each_of_ci(chart: Path) -> None:
    files = [values.files for values in cases(chart)]
    assert files == [
        (),
        (chart / "ci/a-values.yaml",),
        (chart / "ci/b-values.yaml",),
    ]


def test_a_chart_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChartInvalid, match=r"ci has no \*-values\.yaml; add values"):
        cases(tmp_path)


def test_without_a_choice_it_is_all_cases(chart: Path) -> None:
    assert chosen(chart, ()) == cases(chart)


def test_each_file_that_is_chosen_is_a_set_of_its_own(chart: Path) -> None:
    a, b = chart / "ci/a-values.yaml", chart / "ci/b-values.yaml"
    assert chosen(chart, (f"{b},{a},", str(b))) == (Values((b,)), Values((a,)), Values((b,)))


def test_a_file_that_is_not_there_is_refused(chart: Path) -> None:
    with pytest.raises(ChartInvalid, match=r"there is no values file gone\.yaml"):
        chosen(chart, (str(chart / "ci/a-values.yaml"), "gone.yaml"))
