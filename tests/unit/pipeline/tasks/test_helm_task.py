"""`helm.*` as people call them: exit codes, what is printed, one line for what is wrong."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

import pytest

from pipeline.errors import ChartInvalid, RenderedStale, ToolMissing
from pipeline.helm import assertions
from pipeline.helm.docs import BEGIN, END
from tests.unit.pipeline.helm.chart_factory import make_chart
from tests.unit.pipeline.tasks.fake_programs import HelmOnPath
from tests.unit.pipeline.tasks.test_namespace import run

YAML = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
README = f"# Demo\n{BEGIN}\n{END}\n"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def helm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HelmOnPath:
    return HelmOnPath(tmp_path / "bin", monkeypatch)


@pytest.fixture
def chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = {
        "values.yaml": "# -- A value.\na: 1\n",
        "README.md": README,
        "ci/one-values.yaml": "a: 2\n",
        "ci/two-values.yaml": "a: 3\n",
    }
    return make_chart(tmp_path / "demo", files=files)


def failure(capsys: Capture) -> str:
    """Return the error, which is the last line and the only one of its kind."""
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "Traceback" not in "".join(lines)
    return lines[-1]


# helm.lint


def test_lint_asks_about_every_case(helm: HelmOnPath, chart: Path, capsys: Capture) -> None:
    assert run("helm.lint", "--chart", str(chart)) == 0
    assert capsys.readouterr().out.startswith("3 cases: nothing wrong, ")
    assert sorted(helm.asked[1:]) == [
        f"lint --strict --quiet {chart}",
        f"lint --strict --quiet {chart} --values {chart}/ci/one-values.yaml",
        f"lint --strict --quiet {chart} --values {chart}/ci/two-values.yaml",
    ]


def test_lint_of_one_case(helm: HelmOnPath, chart: Path, capsys: Capture) -> None:
    assert run("helm.lint", "--chart=demo", "--values=demo/ci/one-values.yaml") == 0
    assert capsys.readouterr().out.startswith("1 case: nothing wrong, ")
    assert helm.asked[1:] == ["lint --strict --quiet demo --values demo/ci/one-values.yaml"]


def test_lint_prints_what_helm_refuses(helm: HelmOnPath, chart: Path, capsys: Capture) -> None:
    helm.says("lint.out", "==> Linting demo\n[ERROR] values.yaml: - at '/a': wrong\n\n")
    helm.says("lint.err", "Error: 1 chart(s) linted, 1 chart(s) failed\n")
    files = "demo/ci/one-values.yaml,demo/ci/two-values.yaml"
    assert run("helm.lint", "--chart=demo", "--values", files) == ChartInvalid.exit_code == 100
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "one-values.yaml: helm-lint: a: wrong",
        "two-values.yaml: helm-lint: a: wrong",
    ]
    assert shown.err.splitlines()[-1] == (
        "error: 2 findings in 2 cases; correct what is listed above"
    )


def test_lint_for_programs_is_json_alone(helm: HelmOnPath, chart: Path, capsys: Capture) -> None:
    helm.says("lint.err", "Error: no\n")
    assert run("helm.lint", "--chart=demo", "--values=demo/ci/one-values.yaml", "--json") == 100
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == ["one-values.yaml"]
    assert found["findings"] == [{"place": "one-values.yaml", "rule": "helm-lint", "message": "no"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--chart=gone",), "gone/Chart.yaml cannot be read: no such file"),
        (("--chart=demo", "--values=gone.yaml"), "there is no values file gone.yaml"),
    ],
)
def test_lint_of_what_is_not_there(
    helm: HelmOnPath, chart: Path, capsys: Capture, arguments: tuple[str, ...], said: str
) -> None:
    assert run("helm.lint", *arguments) == 100
    assert failure(capsys).startswith(f"error: {said}")
    assert helm.asked == []


@pytest.mark.parametrize("task", ["helm.lint", "helm.template"])
@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("Client: v2.17.0+ga690bad\n", "bin/helm is Helm v2.17.0, which is not supported; install"),
        ("what?\n", "bin/helm does not say its version: what?; install"),
    ],
)
def test_another_helm_is_refused(
    helm: HelmOnPath, chart: Path, capsys: Capture, task: str, version: str, said: str
) -> None:
    helm.says("version", version)
    assert run(task, "--chart=demo") == ToolMissing.exit_code
    assert said in failure(capsys)
    assert helm.asked == ["version --short"]


def test_without_helm_it_is_said_how_to_get_it(
    chart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("HELM", str(tmp_path / "gone"))
    assert run("helm.template", "--chart=demo") == ToolMissing.exit_code
    assert failure(capsys).startswith(f"error: HELM is '{tmp_path}/gone', and that cannot be run")


# helm.template


def test_template_prints_what_helm_made(helm: HelmOnPath, chart: Path, capsys: Capture) -> None:
    helm.says("template.out", YAML)
    assert run("helm.template", "--chart=demo") == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == (YAML, "")
    assert helm.asked[1].startswith("template accelerapp demo --namespace accelerapp --kube-ver")


def test_template_takes_values_in_their_order(helm: HelmOnPath, chart: Path) -> None:
    files = (
        "--values=demo/ci/two-values.yaml, demo/ci/one-values.yaml",
        "--values=demo/values.yaml",
    )
    settings = ("--set=a=1,b=2", "--set=c.d=x=y")
    place = ("--release=shop", "--namespace=devices")
    assert run("helm.template", "--chart=demo", *files, *settings, *place) == 0
    words = helm.asked[1].split()
    assert words[:5] == ["template", "shop", "demo", "--namespace", "devices"]
    assert words[7:] == [
        *("--values", "demo/ci/two-values.yaml", "--values", "demo/ci/one-values.yaml"),
        *("--values", "demo/values.yaml", "--set", "a=1,b=2", "--set", "c.d=x=y"),
    ]


def test_template_into_a_file_prints_nothing(
    helm: HelmOnPath, chart: Path, tmp_path: Path, capsys: Capture
) -> None:
    helm.says("template.out", YAML)
    assert run("helm.template", "--chart=demo", "--output", str(tmp_path / "new/all.yaml")) == 0
    assert (tmp_path / "new/all.yaml").read_text() == YAML
    assert capsys.readouterr().out == ""


def test_what_template_refuses_is_one_line_and_no_file(
    helm: HelmOnPath, chart: Path, tmp_path: Path, capsys: Capture
) -> None:
    helm.says("template.err", "Error: execution error at (x:1:4):\n- a is b: do c\n- d is e\n\n")
    assert run("helm.template", "--chart=demo", "--output=all.yaml", "--set=a=1") == 100
    assert failure(capsys) == (
        "error: values.yaml: a is b: do c; d is e; see the chart's README.md for each value"
    )
    assert not (tmp_path / "all.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set=a",), "error: --set 'a' sets nothing; write it as KEY=VALUE"),
        (("--values=gone.yaml",), "error: there is no values file gone.yaml; name one that is"),
    ],
)
def test_what_cannot_be_rendered_is_one_line(
    helm: HelmOnPath, chart: Path, capsys: Capture, arguments: tuple[str, ...], said: str
) -> None:
    assert run("helm.template", "--chart=demo", *arguments) == 100
    assert failure(capsys).startswith(said)


def test_a_file_that_cannot_be_written_is_one_line(
    helm: HelmOnPath, chart: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("")
    assert run("helm.template", "--chart=demo", "--output=file/all.yaml") != 0
    assert "cannot be written" in failure(capsys)


# helm.test


def test_test_hands_on_what_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(assertions, "run_tests", asked.append)
    assert run("helm.test") == run("helm.test", "--select=probe or pdb") == 0
    assert asked == ["", "probe or pdb"]


def test_a_test_that_fails_is_exit_code_100(
    helm: HelmOnPath, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = assertions.run_tests
    monkeypatch.setattr(
        assertions, "run_tests", lambda select: real(select, streamer=lambda *_, **__: 1)
    )
    assert run("helm.test") == 100
    assert failure(capsys) == "error: a test of the chart fails; see above"


# helm.package


def test_package_packs_the_chart(
    chart: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert run("helm.package", "--chart=demo", "--output=out") == 0
    path = Path("out/demo-0.1.0.tgz")
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{path}  {digest}"
    assert second.startswith("demo 0.1.0, 6 files, 0.")
    with tarfile.open(path) as tar:
        assert tar.getnames()[0] == "demo/Chart.yaml"
        assert {member.mtime for member in tar} == {1_700_000_000}


def test_package_goes_to_dist_and_says_so_for_programs(
    chart: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert run("helm.package", "--chart=demo", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == "dist/charts/demo-0.1.0.tgz"
    assert Path(found["path"]).stat().st_size == found["size_bytes"]


def test_package_of_no_chart_is_one_line(chart: Path, capsys: Capture) -> None:
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: demo\nversion: one\n")
    assert run("helm.package", "--chart=demo", "--output=out") == 100
    assert failure(capsys).startswith("error: demo/Chart.yaml:3: version 'one' is not SemVer 2")
    assert not Path("out").exists()


# helm.docs


def test_docs_writes_the_table_once(chart: Path, capsys: Capture) -> None:
    assert run("helm.docs", "--chart=demo") == 0
    assert capsys.readouterr().out == "demo/README.md: written\n"
    assert "| `a` | `1` | A value. |" in (chart / "README.md").read_text()
    assert run("helm.docs", "--chart=demo") == run("helm.docs", "--chart=demo", "--check") == 0
    assert capsys.readouterr().out == "demo/README.md: is current\n" * 2


def test_docs_checks_without_writing(chart: Path, capsys: Capture) -> None:
    assert run("helm.docs", "--chart=demo", "--check") == RenderedStale.exit_code == 23
    assert failure(capsys) == (
        "error: demo/README.md is not what values.yaml says; run 'invoke helm.docs' and commit it"
    )
    assert (chart / "README.md").read_text() == README


def test_docs_of_a_value_that_nothing_describes_is_one_line(chart: Path, capsys: Capture) -> None:
    (chart / "values.yaml").write_text("# -- A.\na: 1\nb: 2\n")
    assert run("helm.docs", "--chart=demo") == 100
    assert failure(capsys).startswith("error: demo/values.yaml:3: nothing says what b is for")


def test_the_readme_of_this_repository_is_current(capsys: Capture) -> None:
    assert run("helm.docs", "--check") == 0
    assert capsys.readouterr().out.endswith("deployment/helm/accelerapp/README.md: is current\n")
