"""helm's command lines, its versions, and what it says when it refuses something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import tools
from pipeline.errors import ChartInvalid, ToolMissing
from pipeline.helm import commands
from pipeline.helm.commands import Values, find_helm, lint, reasons, refused, template
from pipeline.process import Completed

CHART = Path("charts/demo")
GIVEN = Values((Path("a.yaml"), Path("ci/b.yaml")), ("x=1", "y.z={a,b}"))
WORDS = ("--values", "a.yaml", "--values", "ci/b.yaml", "--set", "x=1", "--set", "y.z={a,b}")


# Values.


def test_later_values_win_so_their_order_stays() -> None:
    assert GIVEN.argv == WORDS
    assert Values().argv == ()


def test_values_are_called_by_their_files() -> None:
    assert GIVEN.title == "a.yaml, b.yaml"
    assert Values().title == Values(settings=("x=1",)).title == "values.yaml"


@pytest.mark.parametrize("text", ["a=1", "a.b[0].c=", "a=b=c", "a={x,y}", "a\\.b=1", "a=x y"])
def test_settings_that_set_something(text: str) -> None:
    Values(settings=(text,)).check()


@pytest.mark.parametrize("text", ["a", "", "=1", "a b=1", " =1"])
def test_a_setting_that_sets_nothing_is_refused(text: str) -> None:
    with pytest.raises(ChartInvalid) as caught:
        Values(settings=("x=1", text)).check()
    assert str(caught.value) == f"--set {text!r} sets nothing; write it as KEY=VALUE"


def test_files_have_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    Values((tmp_path / "a.yaml",)).check()
    for missing in (tmp_path / "b.yaml", tmp_path):
        with pytest.raises(ChartInvalid) as caught:
            Values((tmp_path / "a.yaml", missing)).check()
        assert str(caught.value) == f"there is no values file {missing}; name one that is"


# Command lines.


def test_lint_is_strict() -> None:
    assert lint("/bin/helm", CHART, GIVEN) == (
        *("/bin/helm", "lint", "--strict", "--quiet", "charts/demo"),
        *WORDS,
    )


def test_a_template_is_for_a_version_that_the_chart_supports() -> None:
    assert template("h", CHART, GIVEN, release="r", namespace="n") == (
        *("h", "template", "r", "charts/demo", "--namespace", "n"),
        *("--kube-version", commands.KUBERNETES),
        *WORDS,
    )
    argv = template("h", CHART, Values(), release="r", namespace="n", kubernetes="1.28.3")
    assert argv[-2:] == ("--kube-version", "1.28.3")


# Which helm.


class Helm:
    """A helm that says of its version what it is told to."""

    def __init__(self, stdout: str = "", code: int = 0, stderr: str = "") -> None:
        self.answer = (code, stdout, stderr)
        self.calls: list[tuple[tuple[str, ...], Any]] = []

    def __call__(self, argv: tuple[str, ...], **options: Any) -> Completed:
        self.calls.append((argv, options))
        return Completed(argv, *self.answer)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "find", lambda name: f"/opt/{name}")


@pytest.mark.parametrize(
    "said",
    ["v3.17.3+ge4da497\n", "v4.2.3+g43e8b7f", "v3.0.0-rc.1\n", "v4.0.0\n", "v3.20.0+unreleased"],
)
def test_helm_3_and_4_are_taken(here: None, said: str) -> None:
    helm = Helm(said)
    assert find_helm(helm) == "/opt/helm"
    ((argv, options),) = helm.calls
    assert argv == ("/opt/helm", "version", "--short")
    assert options == {"timeout_s": commands.TIMEOUT_S}


HINT = "; install Helm 3 or 4: invoke tools.install helm, or name one with HELM"
HELM_2 = "Client: v2.17.0+ga690bad\n"


@pytest.mark.parametrize(
    ("helm", "said"),
    [
        (
            Helm(HELM_2, 1, "Error: could not find tiller\n"),
            "is Helm v2.17.0, which is not supported",
        ),
        (Helm("v5.0.0-alpha.1+g1\n"), "is Helm v5.0.0-alpha.1, which is not supported"),
        (Helm("v33.1.0\n"), "is Helm v33.1.0, which is not supported"),
        (Helm("hello\n"), "does not say its version: hello"),
        (
            Helm("", 1, "\nError: unknown flag: --short\n"),
            "its version: Error: unknown flag: --short",
        ),
        (Helm("", 139), "does not say its version: exit code 139"),
        (Helm("version 4.2.3"), "does not say its version: version 4.2.3"),
    ],
)
def test_another_is_not(here: None, helm: Helm, said: str) -> None:
    with pytest.raises(ToolMissing) as caught:
        find_helm(helm)
    assert str(caught.value).startswith("/opt/helm ")
    assert str(caught.value).endswith(said + HINT)
    assert "\n" not in str(caught.value)


def test_one_that_never_answers_is_not(here: None) -> None:
    def slow(argv: tuple[str, ...], **_: Any) -> Completed:
        raise TimeoutError("not done after 60 s")

    with pytest.raises(ToolMissing) as caught:
        find_helm(slow)
    assert str(caught.value) == f"/opt/helm does not say its version{HINT}"


def test_none_at_all_is_said_with_the_way_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCELERAPP_BUILD_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("HELM", raising=False)
    helm = Helm("v4.2.3")
    with pytest.raises(ToolMissing, match=r"helm is not here; invoke tools\.install helm"):
        find_helm(helm)
    monkeypatch.setenv("HELM", "/gone/helm")
    with pytest.raises(ToolMissing, match="HELM is '/gone/helm', and that cannot be run"):
        find_helm(helm)
    assert helm.calls == []


# What it says: real answers of Helm 3.17.3 and 4.2.3.

SCHEMA_4 = """\
Error: values don't meet the specifications of the schema(s) in the following chart(s):
accelerapp:
- at '/image': additional properties 'tga' not allowed
- at '/replicas': minimum: got -1, want 0

"""
SCHEMA_3 = """\
Error: values don't meet the specifications of the schema(s) in the following chart(s):
accelerapp:
- image: Additional property tga is not allowed
- replicas: Must be greater than or equal to 0

"""
TOP_4 = """\
Error: values don't meet the specifications of the schema(s) in the following chart(s):
accelerapp:
- at '': additional properties 'a' not allowed
- at '/monitor/image/tag': got number, want string

"""
TOP_3 = """\
Error: values don't meet the specifications of the schema(s) in the following chart(s):
accelerapp:
- (root): Additional property a is not allowed

"""
CONTRADICTIONS = """\
Error: execution error at (accelerapp/templates/validate.yaml:1:4):\x20
- image.tag is latest, which is another image tomorrow: name a version, or a digest
- blueGreen.enabled without blueGreen.colour: say which colour gets the traffic, blue or green
- ingress.enabled without ingress.hosts: name at least one host


Use --debug flag to render out invalid YAML
"""
FUNCTION = """\
Error: parse error at (accelerapp/templates/zz.yaml:1): function "nosuchfunction" not defined

Use --debug flag to render out invalid YAML
"""
NIL_4 = """\
Error: accelerapp/templates/zz.yaml:1:13
  executing "accelerapp/templates/zz.yaml" at <.Values.no.such.thing>:
    nil pointer evaluating interface {}.such

Use --debug flag to render out invalid YAML
"""
NIL_3 = """\
Error: template: accelerapp/templates/zz.yaml:1:13: executing "accelerapp/templates/zz.yaml" \
at <.Values.no.such.thing>: nil pointer evaluating interface {}.such

Use --debug flag to render out invalid YAML
"""
INCLUDE_4 = """\
Error: accelerapp/templates/zz.yaml:1:6
  executing "accelerapp/templates/zz.yaml" at <include "no.such" .>:
    error calling include:
template: no template "no.such" associated with template "gotpl"

Use --debug flag to render out invalid YAML
"""
KUBERNETES = """\
Error: chart requires kubeVersion: >=1.28.0-0 which is incompatible with Kubernetes v1.27.0

Use --debug flag to render out invalid YAML
"""
VALUES_4 = """\
Error: failed to parse v.yaml: cannot unmarshal yaml document: error converting YAML to JSON: \
yaml: line 1: did not find expected node content
"""
NAME_4 = """\
level=ERROR msg="release name check failed" error="release name \\"Bad_Name\\": invalid"
Error: release name check failed: release name "Bad_Name": invalid
"""
SET_3 = "Error: failed parsing --set data: error parsing index: EOF\n"
WARNED = "WARNING: Kubernetes configuration file is group-readable. This is insecure.\n" + SET_3


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            SCHEMA_4,
            ["image: additional properties 'tga' not allowed", "replicas: minimum: got -1, want 0"],
        ),
        (
            SCHEMA_3,
            [
                "image: Additional property tga is not allowed",
                "replicas: Must be greater than or equal to 0",
            ],
        ),
        (
            TOP_4,
            ["additional properties 'a' not allowed", "monitor.image.tag: got number, want string"],
        ),
        (TOP_3, ["Additional property a is not allowed"]),
        (
            CONTRADICTIONS,
            [
                "image.tag is latest, which is another image tomorrow: name a version, or a digest",
                "blueGreen.enabled without blueGreen.colour: "
                "say which colour gets the traffic, blue or green",
                "ingress.enabled without ingress.hosts: name at least one host",
            ],
        ),
        (
            FUNCTION,
            [
                "parse error at (accelerapp/templates/zz.yaml:1): "
                'function "nosuchfunction" not defined'
            ],
        ),
        (
            NIL_4,
            [
                'accelerapp/templates/zz.yaml:1:13 executing "accelerapp/templates/zz.yaml" '
                "at <.Values.no.such.thing>: nil pointer evaluating interface {}.such"
            ],
        ),
        (
            NIL_3,
            [
                "template: accelerapp/templates/zz.yaml:1:13: executing "
                '"accelerapp/templates/zz.yaml" at <.Values.no.such.thing>: '
                "nil pointer evaluating interface {}.such"
            ],
        ),
        (
            INCLUDE_4,
            [
                'accelerapp/templates/zz.yaml:1:6 executing "accelerapp/templates/zz.yaml" '
                'at <include "no.such" .>: error calling include: '
                'template: no template "no.such" associated with template "gotpl"'
            ],
        ),
        (
            KUBERNETES,
            [
                "chart requires kubeVersion: >=1.28.0-0 which is incompatible with "
                "Kubernetes v1.27.0"
            ],
        ),
        (
            VALUES_4,
            [
                "failed to parse v.yaml: cannot unmarshal yaml document: error converting YAML "
                "to JSON: yaml: line 1: did not find expected node content"
            ],
        ),
        (NAME_4, ['release name check failed: release name "Bad_Name": invalid']),
        (SET_3, ["failed parsing --set data: error parsing index: EOF"]),
        (WARNED, ["failed parsing --set data: error parsing index: EOF"]),
        ("panic: at first\ngoroutine at last\n\n", ["goroutine at last"]),
        ("Error: a\nError: a\n", ["a"]),
        ("Error: a\nlevel=WARN msg=b\n", ["a"]),
        ("", ["exit code 1"]),
    ],
)
def test_reasons_of_a_template_that_is_refused(stderr: str, told: list[str]) -> None:
    assert reasons(Completed(("helm",), 1, "", stderr)) == told


FAILED = "Error: 1 chart(s) linted, 1 chart(s) failed\n"
LINT_4 = """\
==> Linting deployment/helm/accelerapp
[ERROR] values.yaml: - at '/image': additional properties 'tga' not allowed
- at '/replicas': minimum: got -1, want 0

[ERROR] templates/: values don't meet the specifications of the schema(s) in the following chart(s):
accelerapp:
- at '/replicas': minimum: got -1, want 0
- at '/image': additional properties 'tga' not allowed


"""
LINT_3 = """\
==> Linting deployment/helm/accelerapp
[ERROR] values.yaml: - image: Additional property tga is not allowed

[ERROR] templates/: values don't meet the specifications of the schema(s) in the following chart(s):
accelerapp:
- image: Additional property tga is not allowed

"""
LINT_CHART = """\
==> Linting demo
[ERROR] Chart.yaml: version is required
[WARNING] Chart.yaml: version '' is not a valid SemVerV2
[ERROR] : unable to load chart
\tvalidation: chart.metadata.version is required

"""
LINT_NIL_4 = """\
==> Linting demo
[ERROR] templates/: demo/templates/zz.yaml:1:13
  executing "demo/templates/zz.yaml" at <.Values.no.such.thing>:
    nil pointer evaluating interface {}.such

"""
LINT_WARNING = "==> Linting demo\n[WARNING] templates/: directory does not exist\n"
LINT_FAIL_4 = """\
==> Linting demo
[ERROR] templates/: demo/templates/validate.yaml:1:4
  executing "demo/templates/validate.yaml" at <include "demo.validate" .>:
    error calling include:
demo/templates/_validate.tpl:159:4
  executing "demo.validate" at <include (printf "values that do not go together: %s" (join "; " \
$wrong)) .>:
    error calling include:
template: no template "values that do not go together: image.tag is latest: name a version; \
ingress.enabled without ingress.hosts: name one" associated with template "gotpl"

"""
LINT_FAIL_STDERR = (
    'level=INFO msg="funcMap fail" message="\\n- image.tag is latest: name a version\\n"\n' + FAILED
)


@pytest.mark.parametrize(
    ("stdout", "stderr", "told"),
    [
        (
            LINT_4,
            FAILED,
            [
                "image: additional properties 'tga' not allowed",
                "replicas: minimum: got -1, want 0",
            ],
        ),
        (LINT_3, FAILED, ["image: Additional property tga is not allowed"]),
        (
            LINT_CHART,
            FAILED,
            [
                "Chart.yaml: version is required",
                "Chart.yaml: version '' is not a valid SemVerV2",
                ": unable to load chart validation: chart.metadata.version is required",
            ],
        ),
        (
            LINT_NIL_4,
            FAILED,
            [
                'templates/: demo/templates/zz.yaml:1:13 executing "demo/templates/zz.yaml" at '
                "<.Values.no.such.thing>: nil pointer evaluating interface {}.such"
            ],
        ),
        (LINT_WARNING, FAILED, ["templates/: directory does not exist"]),
        (
            LINT_FAIL_4,
            LINT_FAIL_STDERR,
            [
                "image.tag is latest: name a version; "
                "ingress.enabled without ingress.hosts: name one"
            ],
        ),
        ("", FAILED, ["1 chart(s) linted, 1 chart(s) failed"]),
        ("said here\n", "", ["said here"]),
    ],
)
def test_reasons_of_a_chart_that_lint_refuses(stdout: str, stderr: str, told: list[str]) -> None:
    assert reasons(Completed(("helm",), 1, stdout, stderr)) == told


def test_a_refusal_is_one_line_with_the_values_first() -> None:
    error = refused(Completed(("helm",), 1, "", CONTRADICTIONS), Values((Path("ci/a.yaml"),)))
    assert isinstance(error, ChartInvalid)
    assert error.message.startswith("a.yaml: image.tag is latest, which")
    assert error.message.count("; ") == 2
    assert "\n" not in str(error)
    assert str(error).endswith("; see the chart's README.md for each value")
