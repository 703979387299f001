"""A small chart on disk, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CHART_YAML = """\
apiVersion: v2
name: demo
version: 0.1.0
"""
TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: demo}
data: {a: "{{ .Values.a }}"}
"""


def make_chart(
    folder: Path, chart_yaml: str = CHART_YAML, files: Mapping[str, str] | None = None
) -> Path:
    """Make `folder` a chart: Chart.yaml, values, one template, and `files` by path."""
    contents = {
        "Chart.yaml": chart_yaml,
        "values.yaml": "a: 1\n",
        "templates/configmap.yaml": TEMPLATE,
        **(files or {}),
    }
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
