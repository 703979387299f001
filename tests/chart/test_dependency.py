"""The chart as a part of somebody's own: with a condition, and values for everybody."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.kubernetes.objects import read_objects
from tests.chart.conftest import CHART
from tests.integration.conftest import find_tool

PARENT = """\
apiVersion: v2
name: shop
version: 1.0.0
dependencies:
  - name: accelerapp
    version: 0.1.0
    condition: accelerapp.enabled
"""
VALUES = """\
global:
  region: west
accelerapp:
  enabled: true
  replicas: 3
"""


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent") / "shop"
    shutil.copytree(CHART, folder / "charts" / "accelerapp")
    (folder / "Chart.yaml").write_text(PARENT, encoding="utf-8")
    (folder / "values.yaml").write_text(VALUES, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["helm", "helm3"])
@pytest.mark.parametrize(("sets", "there"), [((), True), (("accelerapp.enabled=false",), False)])
def test_a_chart_may_have_it_below_and_switch_it_off(
    parent: Path, name: str, sets: tuple[str, ...], there: bool
) -> None:
    helm = find_tool(name, unchecked="that the chart can be a part of another")
    words = [word for one in sets for word in ("--set", one)]
    done = subprocess.run(
        [helm, "template", "a", str(parent), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    deployments = [
        (found.name, found.spec["replicas"])
        for found in read_objects(done.stdout, "parent")
        if found.kind == "Deployment"
    ]
    assert deployments == ([("a-accelerapp", 3)] if there else [])
