"""The README, --help, HELP and what is served agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import monitoring
from monitoring.health_check import configured_watches
from monitoring.metrics import FAMILIES
from monitoring.readings import judge
from monitoring.settings import VARIABLES, Settings
from monitoring.web import PATHS
from tests.unit.monitoring.moments import readings
from tests.unit.monitoring.test_web import Client

PACKAGE = Path(monitoring.__file__).parent
EVERYTHING = {"OLLAMA_HOST": "ollama", "REDIS_URL": "redis://redis"}


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
    client = Client()
    paths = [row[0] for row in table("path")]
    assert all(client.ask(path).status == 200 for path in paths)
    assert paths == list(PATHS)
    served = re.findall(r'^        "(/[a-z]*)": ', (PACKAGE / "web.py").read_text(), re.MULTILINE)
    assert sorted(paths) == sorted(served)


def test_checks() -> None:
    settings = Settings.load(EVERYTHING)
    known = [watch.now() for watch in configured_watches(settings)]
    assert [row[0] for row in table("check")] == [
        check.name for check in judge(readings(*known), settings)
    ]


def test_settings() -> None:
    assert table("variable") == [
        [variable.name, variable.default, variable.meaning] for variable in VARIABLES
    ]


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
        text = f"{variable.meaning} ({variable.default or 'not set'})"
        row = rf"^  {variable.name} +{re.escape(text)}$"
        assert re.search(row, shown, re.MULTILINE), variable.name


def test_settings_that_are_read_are_the_settings_that_are_told() -> None:
    named = re.compile(r"\b(?:MONITOR|ACCELERAPP|OLLAMA|REDIS)_(?:[A-Z]+_)*[A-Z]+\b")
    read = {name for source in PACKAGE.glob("*.py") for name in named.findall(source.read_text())}
    constants = {"OLLAMA_PORT", "REDIS_PORT"}
    assert read - constants == {variable.name for variable in VARIABLES}


def test_metrics() -> None:
    assert table("metric") == [
        [family.name, family.kind, ", ".join(family.labels), family.help] for family in FAMILIES
    ]


def test_modules() -> None:
    named = {name for row in table("module") for name in row[0].split(", ")}
    assert named == {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}


def test_monitor_imports_nothing_of_the_application() -> None:
    for source in PACKAGE.glob("*.py"):
        assert not re.search(r"^\s*(from|import) (accelerapp|pipeline)", source.read_text(), re.M)


def test_version_is_the_application_s() -> None:
    import accelerapp

    assert monitoring.__version__ == accelerapp.__version__
