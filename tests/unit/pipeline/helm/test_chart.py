"""What a Chart.yaml may say, and which files .helmignore leaves in the package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import ChartInvalid
from pipeline.helm.chart import Chart, chart_files, read_chart
from tests.unit.pipeline.helm.chart_factory import CHART_YAML, make_chart


def files_of(folder: Path) -> list[str]:
    return [path.as_posix() for path in chart_files(folder)]


def refusal(folder: Path) -> str:
    with pytest.raises(ChartInvalid) as refused:
        read_chart(folder)
    return str(refused.value)


# Chart.yaml.


def test_a_chart_is_what_its_file_says(tmp_path: Path) -> None:
    text = """\
apiVersion: v2
name: my-chart2
version: 1.2.3-rc.1+build.5
appVersion: "1.10"
kubeVersion: ">=1.28.0-0"
keywords: [a, b]
deprecated: true
maintainers:
  - name: Ann
custom: {deep: [1, 2.5]}
"""
    chart = read_chart(make_chart(tmp_path, text))
    assert chart == Chart(
        folder=tmp_path,
        name="my-chart2",
        version="1.2.3-rc.1+build.5",
        app_version="1.10",
        kube_version=">=1.28.0-0",
        metadata={
            "apiVersion": "v2",
            "name": "my-chart2",
            "version": "1.2.3-rc.1+build.5",
            "appVersion": "1.10",
            "kubeVersion": ">=1.28.0-0",
            "keywords": ["a", "b"],
            "deprecated": True,
            "maintainers": [{"name": "Ann"}],
            "custom": {"deep": [1, 2.5]},
        },
    )
    # Plain, with nothing of the reader's own types left.
    said = chart.metadata
    assert {type(said), type(said["custom"])} == {dict}
    assert {type(chart.version), type(chart.app_version)} == {str}
    assert type(said["custom"]["deep"][1]) is float


def test_what_is_not_said_is_empty(tmp_path: Path) -> None:
    chart = read_chart(make_chart(tmp_path, CHART_YAML + "appVersion:\n"))
    assert (chart.app_version, chart.kube_version) == ("", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Chart.yaml: no mapping; it begins with 'apiVersion: v2'"),
        ("- a\n", "Chart.yaml: no mapping"),
        ("a: b\nname: [\n", "Chart.yaml:3: not YAML: "),
        ("name: a\nname: b\n", "Chart.yaml:2: not YAML: found duplicate key"),
        ("name: a\nversion: 1.0.0\n", "Chart.yaml: apiVersion is not v2; write 'apiVersion: v2'"),
        ("name: a\napiVersion: v1\nversion: 1.0.0\n", "Chart.yaml:2: apiVersion is not v2"),
        ("apiVersion: v2\nversion: 1.0.0\n", "Chart.yaml: name is missing"),
        ("apiVersion: v2\nname: ''\nversion: 1.0.0\n", "Chart.yaml:2: name is missing"),
        ("apiVersion: v2\nname: a\n", "Chart.yaml: version is missing"),
        ("apiVersion: v2\nname: a\nversion: 1.0\n", "Chart.yaml:3: version is not a text; write"),
        ("apiVersion: v2\nname: 7\nversion: 1.0.0\n", "Chart.yaml:2: name is not a text"),
        (CHART_YAML + "type: plugin\n", "Chart.yaml:4: type 'plugin' is not known; use app"),
        (CHART_YAML + "appVersion: 1.10\n", "Chart.yaml:4: appVersion is not a text; write it in"),
        (CHART_YAML + "sources: x\n", "Chart.yaml:4: sources is not a list of texts"),
        (CHART_YAML + "keywords: [a, 1]\n", "Chart.yaml:4: keywords is not a list of texts"),
        (CHART_YAML + "annotations: {a: 1}\n", "Chart.yaml:4: annotations is not a mapping to"),
        (CHART_YAML + "maintainers: [Ann]\n", "Chart.yaml:4: maintainers is not a list of map"),
        (CHART_YAML + "maintainers: [{name: 1}]\n", "Chart.yaml:4: maintainers is not a list of"),
        (CHART_YAML + "dependencies: {}\n", "Chart.yaml:4: dependencies is not a list"),
        (CHART_YAML + "deprecated: maybe\n", "Chart.yaml:4: deprecated is not true or false"),
    ],
)
def test_what_helm_refuses_is_one_line_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(make_chart(tmp_path / "demo", text))
    assert said.startswith(f"demo/{expected}")
    assert "\n" not in said


@pytest.mark.parametrize("name", ["A", "a_b", "a.b", "-a", "a-", "a/b", "é"])
def test_a_name_that_kubernetes_would_not_take_is_refused(tmp_path: Path, name: str) -> None:
    make_chart(tmp_path, f"apiVersion: v2\nname: {name!r}\nversion: 1.0.0\n")
    assert f"Chart.yaml:2: name {name!r} cannot be used; use lower-case" in refusal(tmp_path)


@pytest.mark.parametrize(
    "version", ["1", "1.0", "v1.0.0", "1.0.0.0", "01.0.0", "1.0.0-01", "1.0.0-", "1.0.0+a_b", "x"]
)
def test_a_version_that_is_not_semver_is_refused(tmp_path: Path, version: str) -> None:
    make_chart(tmp_path, f"apiVersion: v2\nname: a\nversion: {version!r}\n")
    assert f"Chart.yaml:3: version {version!r} is not SemVer 2" in refusal(tmp_path)


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3-0.a.b-c.0x1", "10.20.30+001.a", "1.0.0--"])
def test_a_version_that_is_semver_is_taken(tmp_path: Path, version: str) -> None:
    make_chart(tmp_path, f"apiVersion: v2\nname: a\nversion: {version}\n")
    assert read_chart(tmp_path).version == version


def test_a_folder_that_is_no_chart_is_one_line(tmp_path: Path) -> None:
    assert "Chart.yaml cannot be read: no such file" in refusal(tmp_path)
    (tmp_path / "Chart.yaml").write_bytes(b"name: \xff")
    assert "Chart.yaml cannot be read: not utf-8" in refusal(tmp_path)


# The files.


def test_the_files_are_sorted_and_hidden_templates_left_out(tmp_path: Path) -> None:
    names = ["README.md", "a/z.txt", "a-b.txt", ".dot", "templates/.swp", "templates/sub/.kept"]
    make_chart(tmp_path, files=dict.fromkeys(names, ""))
    (tmp_path / "empty").mkdir()
    assert files_of(tmp_path) == [
        ".dot",
        "Chart.yaml",
        "README.md",
        "a/z.txt",
        "a-b.txt",
        "templates/configmap.yaml",
        "templates/sub/.kept",
        "values.yaml",
    ]


TREE = ("#kept", "a.bak", "ci/a.yaml", "ci/b.txt", "docs/a.bak", "docs/ci/c.yaml", "docs/x[1].md")


@pytest.mark.parametrize(
    ("rules", "excluded"),
    [
        ("", set()),
        ("#kept\n\n   \n", set()),
        ("*.bak", {"a.bak", "docs/a.bak"}),
        ("  *.bak  \r\n", {"a.bak", "docs/a.bak"}),
        ("/*.bak", {"a.bak"}),
        ("docs/*.bak", {"docs/a.bak"}),
        ("*/a.*", {"ci/a.yaml", "docs/a.bak"}),
        ("ci", {"ci/a.yaml", "ci/b.txt", "docs/ci/c.yaml"}),
        ("ci/", {"ci/a.yaml", "ci/b.txt", "docs/ci/c.yaml"}),
        ("/ci/", {"ci/a.yaml", "ci/b.txt"}),
        ("a.bak/", set()),
        ("docs/ci/", {"docs/ci/c.yaml"}),
        ("[ab].*", {"a.bak", "ci/a.yaml", "ci/b.txt", "docs/a.bak"}),
        ("[^b-z].bak", {"a.bak", "docs/a.bak"}),
        ("[!a].bak", {"a.bak", "docs/a.bak"}),  # '!' is a character like any other.
        ("[z-a].bak", set()),
        ("x\\[?\\].md", {"docs/x[1].md"}),
        ("x[[]1[\\]].md", {"docs/x[1].md"}),
        ("A.BAK", set()),
        (".helmignore", {".helmignore"}),
        ("\ufeff*.bak", {"a.bak", "docs/a.bak"}),
    ],
)
def test_rules_exclude_as_helm_reads_them(tmp_path: Path, rules: str, excluded: set[str]) -> None:
    make_chart(tmp_path, files={**dict.fromkeys(TREE, ""), ".helmignore": rules})
    whole = {*TREE, ".helmignore", "Chart.yaml", "values.yaml", "templates/configmap.yaml"}
    assert set(files_of(tmp_path)) == whole - excluded


def test_a_negated_rule_excludes_all_that_it_does_not_name(tmp_path: Path) -> None:
    make_chart(tmp_path, files={".helmignore": "!*.yaml\n", "README.md": ""})
    assert files_of(tmp_path) == ["Chart.yaml", "values.yaml"]
    (tmp_path / ".helmignore").write_text("!values.yaml\n")
    with pytest.raises(ChartInvalid, match=r"Chart\.yaml is excluded by \.helmignore; .*'!'"):
        chart_files(tmp_path)


@pytest.mark.parametrize(
    "rule", ["a/**/b", "[", "[a", "[]a]", "[a-]", "[-a]", "a\\", "[a\\", "!**", "[^]"]
)
def test_a_rule_that_helm_refuses_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_chart(tmp_path, files={".helmignore": f"# one\n\n{rule}\n"})
    with pytest.raises(ChartInvalid) as refused:
        chart_files(tmp_path)
    assert str(refused.value).startswith(f".helmignore:3: helm cannot use the rule {rule!r}: ")


@pytest.mark.parametrize("target", ["values.yaml", "templates", "nowhere"])
def test_a_symbolic_link_is_refused_by_name_unless_it_is_excluded(
    tmp_path: Path, target: str
) -> None:
    make_chart(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "linked").symlink_to(tmp_path / target)
    with pytest.raises(ChartInvalid, match="docs/linked is a symbolic link; put the file itself"):
        chart_files(tmp_path)
    (tmp_path / ".helmignore").write_text("linked\n")
    assert "values.yaml" in files_of(tmp_path)
    assert not [name for name in files_of(tmp_path) if "linked" in name]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    make_chart(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ChartInvalid, match="pipe is neither a file nor a folder"):
        chart_files(tmp_path)


@pytest.mark.parametrize("name", [b"a\\b", b"a\nb", b"\xff", b"..a", b"d:/a"])
def test_a_name_that_helm_cannot_read_from_an_archive_is_refused(
    tmp_path: Path, name: bytes
) -> None:
    path = os.path.join(os.fsencode(make_chart(tmp_path)), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb"):
        pass
    with pytest.raises(ChartInvalid, match="helm cannot read a file called '"):
        chart_files(tmp_path)


def test_names_in_any_language_are_fine(tmp_path: Path) -> None:
    make_chart(tmp_path, files={"docs/für alle.md": "", "a..b": ""})
    assert {"docs/für alle.md", "a..b"} < set(files_of(tmp_path))


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ChartInvalid, match="nowhere cannot be read: no such file or directory"):
        chart_files(tmp_path / "nowhere")
    with pytest.raises(ChartInvalid, match=r"Chart\.yaml is missing"):
        chart_files(tmp_path)
