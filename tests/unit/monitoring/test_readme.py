"""The README, --help, HELP and what is served agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import monitoring
from monitoring.checks import Disk, Probe, Watched, check_disk, check_watched
from monitoring.metrics import METRICS
from monitoring.readings import Readings
from monitoring.settings import VARIABLES
from monitoring.web import create_app

PACKAGE = Path(monitoring.__file__).parent
WATCHED = Watched("accelerapp", Probe("pass", "", 0.1, 1), 1.0, 22)
READINGS = Readings((WATCHED,), Disk("/", 1), 1)


def table(heading: str) -> list[list[str]]:
    """The rows of the table that begins with `heading`, without code marks."""
    text = (PACKAGE / "README.md").read_text()
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, f"no table {heading!r}"
    return [
        [cell.strip().replace("`", "") for cell in row.strip("|").split("|")]
        for row in found[1].splitlines()
    ]


def test_endpoints() -> None:
    app = create_app(lambda: READINGS, disk_warn_bytes=0, disk_fail_bytes=0)
    assert [row[0] for row in table("path")] == [route.rule for route in app.routes]


def test_checks() -> None:
    checks = (check_watched(WATCHED), check_disk(READINGS.disk, warn_bytes=0, fail_bytes=0))
    assert [row[0] for row in table("check")] == [check.name for check in checks]


def test_settings() -> None:
    assert table("variable") == [list(variable) for variable in VARIABLES]


def test_settings_in_help() -> None:
    shown = subprocess.run(
        (sys.executable, "-m", "monitoring.monitor", "--help"),
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    for variable in VARIABLES:
        row = rf"^  {variable.name} +{re.escape(f'{variable.meaning} ({variable.default})')}$"
        assert re.search(row, shown, re.MULTILINE), variable.name


def test_settings_that_are_read_are_the_settings_that_are_told() -> None:
    named = re.compile(r"\b(?:MONITOR|ACCELERAPP)_[A-Z_]*[A-Z]\b")
    read = {name for source in PACKAGE.glob("*.py") for name in named.findall(source.read_text())}
    assert read == {variable.name for variable in VARIABLES}


def test_metrics() -> None:
    rows = []
    for metric in METRICS:
        [(labels, _)] = metric.samples(READINGS)
        rows.append([metric.name, ", ".join(labels), metric.help])
        assert metric.kind == "gauge", "the README says that all are"
    assert table("metric") == rows


def test_modules() -> None:
    named = {name for row in table("module") for name in row[0].split(", ")}
    assert named == {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}


def test_monitor_imports_nothing_of_the_application() -> None:
    for source in PACKAGE.glob("*.py"):
        assert not re.search(r"^\s*(from|import) (accelerapp|pipeline)", source.read_text(), re.M)
