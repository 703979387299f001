"""The chart and the manifest before helm's own linter, Kubernetes' schemas and Trivy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from accelerapp import __version__
from pipeline.helm.chart import read_chart
from pipeline.helm.docs import write_readme
from pipeline.helm.lint import check, lint
from pipeline.helm.manifest import MANIFEST, VALUES, write_manifest
from pipeline.helm.render import cases
from pipeline.kubernetes.schemas import OLDEST, known_versions
from pipeline.process import run
from pipeline.release.version import Version
from pipeline.report import Silent
from pipeline.settings import read_settings
from tests.chart.conftest import CASES, CHART, ROOT
from tests.integration.conftest import find_tool

SITUATIONS = {
    "minimal",
    "production",
    "development",
    "gpu",
    "external-redis",
    "air-gapped",
    "ingress-tls",
    "httproute",
    "monitoring",
    "network-strict",
    "blue-green",
    "shared-volumes",
}


def test_the_chart_has_the_version_of_the_service() -> None:
    chart = read_chart(CHART)
    version = Version.parse(__version__)
    assert version is not None
    assert (chart.version, chart.app_version) == (version.semver, version.semver)
    assert chart.kube_version == f">={OLDEST}.0-0"


def test_there_are_cases_of_real_situations() -> None:
    names = {file.name.removesuffix("-values.yaml") for file in CASES}
    assert not SITUATIONS - names


def test_helm_s_linter_has_no_objection_to_any_case(helm: str) -> None:
    checked = lint(CHART, cases(CHART), Silent(), run)
    assert checked.findings == []
    assert len(checked.cases) == len(CASES) + 1


def test_every_object_is_one_that_kubernetes_and_we_take(helm: str) -> None:
    settings = read_settings(ROOT)
    checked = check(
        CHART, cases(CHART), [ROOT / MANIFEST], settings, known_versions(), Silent(), run
    )
    assert checked.findings == []
    assert checked.objects > 150
    assert (known_versions()[0], len(known_versions()) >= 9) == (OLDEST, True)


def test_the_manifest_is_what_the_chart_renders(helm: str) -> None:
    made = write_manifest(read_chart(CHART), ROOT / VALUES, ROOT / MANIFEST, run, check=True)
    assert made.was_current
    assert made.objects >= 15


def test_the_readme_is_what_the_values_say() -> None:
    assert write_readme(CHART, check=True)


def test_the_packaged_chart_renders_the_same(helm: str, tmp_path: Path) -> None:
    from pipeline.helm.package import package

    made = package(CHART, tmp_path, epoch_s=1_700_000_000)
    folder = subprocess.run(
        [helm, "template", "a", str(CHART)], capture_output=True, text=True, check=True
    )
    packed = subprocess.run(
        [helm, "template", "a", str(made.path)], capture_output=True, text=True, check=True
    )
    assert packed.stdout == folder.stdout


@pytest.mark.parametrize("name", ["helm", "helm3"])
def test_every_supported_helm_renders_the_same(helm: str, name: str) -> None:
    other = find_tool(name, unchecked="that Helm 3 renders what Helm 4 does")
    for file in CASES:
        texts = [
            subprocess.run(
                [program, "template", "a", str(CHART), "--values", str(file)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for program in (helm, str(other))
        ]
        assert documents(texts[0]) == documents(texts[1]), file.name


def documents(text: str) -> list[str]:
    return sorted(part.strip() for part in re.split(r"^---$", text, flags=re.MULTILINE))


# Trivy.


def misconfigurations(program: Path, folder: Path, *words: str) -> list[tuple[str, str, str]]:
    argv = [str(program), "config", "--quiet", "--skip-check-update", "--format", "json"]
    argv += ["--helm-kube-version", f"{OLDEST}.0", *words, str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    results = json.loads(done.stdout).get("Results") or []
    assert results, "Trivy looked at nothing"
    assert sum(r["MisconfSummary"]["Successes"] for r in results) > 50
    return [
        (one["Severity"], one["ID"], one["Message"])
        for result in results
        for one in result.get("Misconfigurations") or []
        if one["Severity"] in ("MEDIUM", "HIGH", "CRITICAL")
    ]


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.name.removesuffix("-values.yaml"))
def test_trivy_finds_nothing_in_the_chart(file: Path) -> None:
    trivy = find_tool("trivy", unchecked="that the chart has no misconfiguration")
    assert misconfigurations(trivy, CHART, "--helm-values", str(file)) == []


def test_trivy_finds_nothing_in_the_manifest() -> None:
    trivy = find_tool("trivy", unchecked="that the manifest has no misconfiguration")
    assert misconfigurations(trivy, (ROOT / MANIFEST).parent) == []


def test_trivy_would_find_something(tmp_path: Path) -> None:
    trivy = find_tool("trivy", unchecked="that Trivy looks at the chart at all")
    copy = tmp_path / "accelerapp"
    shutil.copytree(CHART, copy)
    helpers = copy / "templates" / "_helpers.tpl"
    text = helpers.read_text(encoding="utf-8")
    planted = text.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    assert planted != text
    helpers.write_text(planted, encoding="utf-8")
    assert {one[1] for one in misconfigurations(trivy, copy)} & {"KSV014", "AVD-KSV-0014"}


def test_the_tasks_say_so_too(helm: str) -> None:
    for task in ("helm.lint", "helm.docs --check", "k8s.render --check", "k8s.check"):
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *task.split()],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (task, done.stdout, done.stderr)
